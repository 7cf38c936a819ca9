"""The DICOM network: who asks us, and whom we ask."""
