"""What schemathesis holds an answer of the graph to: no 5xx, and no error that nobody foresaw."""

import schemathesis


@schemathesis.check
def no_fault_of_ours(_ctx, response, case):
    assert response.status_code < 500, f"{response.status_code}: {case.body}: {response.text}"
    errors = response.json().get("errors", ())
    assert not [each for each in errors if each.get("extensions", {}).get("code") == "internal"], case.body
