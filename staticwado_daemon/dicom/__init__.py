"""What a DICOM object is: pure functions over bytes, which write nothing."""
