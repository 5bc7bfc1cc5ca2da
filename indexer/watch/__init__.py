"""What changes in the watched folders: hints from the kernel, scans, and the queue where changed paths come to rest."""
