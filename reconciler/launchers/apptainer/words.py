"""What both halves of this launcher call by the same name."""

NAME = "apptainer"
KEEPER = "RECONCILE_LAUNCHER"  # a mark: an instance that another launcher keeps, systemd say, is not this one's
STOP = "RECONCILE_STOP"  # a mark: SIGNAL SECONDS, how it is to be ended and what it is given for that
FEW = 8  # instances that are started at once
READY = 1  # seconds that one must stay up to count as started
