"""Usage over long spans, summed ahead: exact at any moment, a year without reading its rows.

**What is kept.** For each of eight sets of dimensions (`dimensions`) the sums of each day and month of the time zones
that organisations count in, of the four smallest also those of each hour, and of the four largest those of each week:
made of its days when it is over, and only what comes late is added to it then (`calendars`). A day of Berlin is a row
of its own, not 24 hours of UTC: so a zone at +5:45 and a day of 25 hours cost and are worth the same. Hours that a
question's ends cut, zones that are not kept and combinations that no set tells apart are read from the ledger: slower,
as exact, and 31 days of it at most (`reach`).

**How a row gets in.** Triggers on `usage_events` write, in the transaction that writes a row, its name into a queue:
one entry a batch, with the number that a folded denial's count grew by. A fold takes some entries away and adds their
rows to all sums, in one transaction. So for every snapshot of the database a row is either in the queue or in the
sums, never in both: a question is one statement over sums and queue, and exact while folds run, whichever instance runs
them, whatever dies, and however late a row comes: a late row is a row like any other. A crash before the commit leaves
the entries where they were.

**What was not taken.** A watermark over the ledger (by time, by sequence, by transaction id): time and sequences are
not monotonic in the order of commits, transaction ids do not survive a restore and stand still behind any long
transaction, and none of them sees a count that grows. Marking hours dirty and summing them anew reads the current hour
again and again, and needs the ledger's rows for ever. Sums made by the trigger itself would have every carrier wait for
the same few rows.

The ledger's rows may be deleted once they are rolled up: sums stay, and only what is read from the ledger is gone with
them. Nothing of a row may change but its count. All instances need the same rules of time zones.
"""
