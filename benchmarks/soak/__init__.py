"""An endpoint under load of all kinds for a long time, while versions change and replicas die."""
