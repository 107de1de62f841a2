"""The pure core: desired, observed and inventory in, a plan out. It opens no file and reads no clock."""
