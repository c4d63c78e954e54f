"""The disk: scanning, manifests, digests, watching, the download transaction, the state folder."""
