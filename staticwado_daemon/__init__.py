"""staticwado: folders of DICOM as a static DICOMweb tree."""

__version__ = "0.1.0"
