package alarm

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/schemas"
)

// Season says with which rows of the reference a window is compared.
type Season string

// The seasons.
const (
	SeasonAuto Season = "auto" // the one to which windows of the reference are nearest; week from 4 weeks on
	SeasonNone Season = "none" // with all rows
	SeasonDay  Season = "day"  // with those of the same hours of the day; from 2 days on
	SeasonWeek Season = "week" // with those of the same hours of the week; from 2 weeks on
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// Options of Calibrate. Zero values are replaced by the defaults that are named.
type Options struct {
	Window time.Duration `json:"window"` // length of the windows, a number of buckets
	Every  time.Duration `json:"every"`  // time between false alarms of the model that is asked for
	Rule
	MinRows int64 `json:"min_rows"` // below it a window is no data; default 100
	// Effect is how large a distance must be, without what it is where nothing drifts, for its
	// check to count; default 0. Alarms come no more often for it than was calibrated.
	Effect     map[schemas.Stattest]float64 `json:"effect,omitempty"`
	Season     Season                       `json:"season"`     // default SeasonAuto
	Confidence float64                      `json:"confidence"` // share of references like this one by which the promise is to hold; default 0.75. It holds in the mean of all, too
	Replicates int                          `json:"replicates"` // bootstrap replicates that the confidence is found by; default 200
	Seed       uint64                       `json:"seed"`
	Workers    int                          `json:"-"` // goroutines; default 1. The result does not depend on it
}

// withDefaults returns the options with their defaults, or all that is wrong with them.
func (o Options) withDefaults() (Options, error) {
	o.K, o.N = max(o.K, 1), max(o.N, o.K, 1)
	if o.Close == 0 {
		o.Close = o.N
	}
	if o.MinRows == 0 {
		o.MinRows = 100
	}
	if o.Season == "" {
		o.Season = SeasonAuto
	}
	if o.Confidence == 0 {
		o.Confidence = 0.75
	}
	if o.Replicates == 0 {
		o.Replicates = 200
	}
	o.Workers = max(o.Workers, 1)
	errs := []error{o.Validate()}
	switch o.Season {
	case SeasonAuto, SeasonNone, SeasonDay, SeasonWeek:
	default:
		errs = append(errs, fmt.Errorf("season must be auto, none, day or week, got %q", o.Season))
	}
	if !(o.Confidence >= 0.5 && o.Confidence < 1) {
		errs = append(errs, fmt.Errorf("confidence must be at least 0.5 and below 1, got %v", o.Confidence))
	}
	if o.Replicates < 10 {
		errs = append(errs, fmt.Errorf("replicates must be at least 10, got %d", o.Replicates))
	}
	if o.Window <= 0 || o.Every < o.Window {
		errs = append(errs, fmt.Errorf("every must be at least a window of %v, got %v", o.Window, o.Every))
	}
	if o.MinRows < 1 {
		errs = append(errs, fmt.Errorf("min_rows must be at least 1, got %d", o.MinRows))
	}
	return o, errors.Join(errs...)
}
