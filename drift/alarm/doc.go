// Package alarm makes alarms of drift as rare as a user says, for a model as a whole.
//
// A window's score is the greatest of its checks: distances between the cells of the window and
// of the reference, one or two for each column, each standardised by what it is in windows of the
// reference. An alarm opens when k of the last n windows score above one threshold. Calibrate finds
// the threshold by which that happens once in a stated time where nothing drifts; Decide is the
// decision, one window at a time; Scorer.Card says how often it is wrong, and how late.
//
// Everything here is a pure function: no clock, and random only by a given seed.
package alarm
