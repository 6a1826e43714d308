"""What select and tune try out: a trial of one architecture, races and searches of many, and the ledger of them."""
