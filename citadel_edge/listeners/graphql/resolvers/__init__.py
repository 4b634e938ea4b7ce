"""What answers each field of the contract, subject by subject. Nothing is decided here."""
