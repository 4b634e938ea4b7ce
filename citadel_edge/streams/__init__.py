"""The stream log: what a generation says, kept so that anybody who lost it can read on."""
