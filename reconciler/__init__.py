"""GitOps for machines without Kubernetes."""

__version__ = "0.1.0"
