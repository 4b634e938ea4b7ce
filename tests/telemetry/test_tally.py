import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from citadel_edge.telemetry.tally import TallyFamily, quantile

BOUNDS = (0.001, 0.25, 1)
SEEN = (0.0, 0.001, 0.0011, 0.2, 0.3, 5.0)


def families():
    """The library's histogram and ours, in registries of their own, having seen the same."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    known = Histogram("citadel_x_seconds", "Text.", ["listener"], registry=theirs, buckets=BOUNDS)
    tally = TallyFamily("citadel_x_seconds", "Text.", ["listener"], registry=ours, bounds=BOUNDS)
    for value in SEEN:
        known.labels("a").observe(value)
        tally.labels("a").observe(value)
    return theirs, ours


def without_created(text):
    return [line for line in text.decode().splitlines() if "_created" not in line]


@pytest.mark.parametrize("write", [generate_latest, openmetrics])
def test_the_scrape_reads_as_the_librarys_histogram_does(write):
    theirs, ours = families()
    assert without_created(write(ours)) == without_created(write(theirs))


def test_a_series_is_one_and_its_labels_are_all_given():
    registry = CollectorRegistry()
    family = TallyFamily("citadel_x_seconds", "Text.", ["listener"], registry=registry, bounds=BOUNDS)
    assert family.labels("a") is family.labels("a")
    with pytest.raises(ValueError, match="has the labels"):
        family.labels()
    with pytest.raises(ValueError, match="Duplicated"):
        TallyFamily("citadel_x_seconds", "Text.", [], registry=registry, bounds=BOUNDS)


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, 0.0005),
        ([0, 10, 0, 0], 0.5, 0.1255),
        ([50, 49, 1, 0], 0.99, 0.25),
        ([0, 0, 0, 7], 0.5, 1),
    ],
)
def test_a_quantile_lies_in_its_bucket(counts, share, value):
    assert quantile(BOUNDS, counts, share) == (None if value is None else pytest.approx(value))
