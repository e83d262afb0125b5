// Package estimate estimates the quality of a model where the targets are not yet known.
//
// CBPE (confidence-based performance estimation) takes a classifier's scores, calibrated on
// the reference, as the probabilities of being right. DLE (direct loss estimation) trains a
// second model, the nanny, on the loss of a regression model over the reference, and
// averages what the nanny expects of new rows. Both follow NannyML 0.13.1, with its sampling
// errors, thresholds and names; where an answer of NannyML depends on the order in which an
// unstable sort leaves ties, this package takes that of a stable one.
//
// PAPE (probabilistic adaptive performance estimation) is CBPE with a calibration for each
// chunk, made on the reference weighted to look like the chunk: see BinaryPAPE.
//
// NannyML's sampling errors leave out what the reference, a sample itself, does not know: 1.96
// of them held the realized ROC AUC of chunks without drift in 62 to 91 % of simulations.
// LearnIntervals of a BinaryCBPE adds intervals that hold 95 %, while scores stand for the
// same probabilities as in the reference; BinaryPAPE has the like. DLE and estimators of
// several classes have none, and say so (ErrNoInterval).
//
// All functions are pure: no clock, no I/O, nothing random but by a fixed seed. They keep
// nothing of the slices they are given, and a fitted estimator may be used from several
// goroutines. A figure that does not exist is nil, never NaN.
package estimate
