"""The probe of the UNet's blocks: which know what is where, and at which timestep."""
