// Package detect finds the moment at which a stream of values changed: ADWIN, Page-Hinkley,
// DDM, EDDM, KSWIN, CUSUM and an e-detector, one value at a time.
//
// The defaults of all but the e-detector are as published, and promise nothing of how often they
// are wrong. EDetector does: it has a false alarm every run_length values, or more rarely.
//
// Parameters, defaults, flags and indices of detection are those of River 0.26 (CUSUM, which
// River has not, is Page's; the e-detector is Shin's, Ramdas's and Rinaldo's). Like there, a detector that found a drift starts over with the
// next value. Memory is constant, for ADWIN logarithmic in the window, and Update allocates
// nothing once the window has its size. Detectors know no clock; the only random one, KSWIN,
// draws from its seed.
//
// MarshalBinary saves all of a detector, its parameters included, and Restore continues it as
// if it had never stopped: every later output, and every later saved state, is the same.
package detect
