package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Reference is the data that a version is compared with, reduced to what the comparison
// needs: counts in bins that never move afterwards. Columns are features and outputs. A model
// flatters the rows that it was fitted on, so that outputs of those are best predicted out of
// fold: each row by a model that has not seen it.
type Reference struct {
	Rows    int64             `json:"rows"`
	Columns []ReferenceColumn `json:"columns"`
	// Quality holds figures of the predictions of these rows, by stattest name.
	Quality map[Stattest]float64 `json:"quality,omitempty"`
	// Estimator estimates quality of rows without labels; of binary targets.
	Estimator *Estimator `json:"estimator,omitempty"`
	// OutOfFold says that the columns of outputs, and Quality, are of out-of-fold predictions.
	OutOfFold bool `json:"out_of_fold,omitempty"`
	// Made says how the reference was made: data, period, script.
	Made string `json:"made,omitempty"`
}

// ReferenceColumn holds the counts of one column: either Edges and Counts (numeric), or
// Categories and Counts (bool, string, category).
//
// Numeric bins are left-closed: with edges e[0] < … < e[k-1] there are k+1 bins,
// (-inf, e[0]), [e[0], e[1]), …, [e[k-1], +inf), and Counts has k+1 numbers.
// NULL and NaN are Missing, not in any bin.
type ReferenceColumn struct {
	Name       string    `json:"name"`
	Edges      []float64 `json:"edges,omitempty"`
	Categories []string  `json:"categories,omitempty"`
	Counts     []int64   `json:"counts"`
	Other      int64     `json:"other,omitempty"` // rows of categories that are not listed
	Missing    int64     `json:"missing"`
	Mean       *float64  `json:"mean,omitempty"`
	StdDev     *float64  `json:"std_dev,omitempty"` // population standard deviation
}

// Column returns the column of that name.
func (r *Reference) Column(name string) (*ReferenceColumn, bool) {
	i := slices.IndexFunc(r.Columns, func(c ReferenceColumn) bool { return c.Name == name })
	if i < 0 {
		return nil, false
	}
	return &r.Columns[i], true
}

// MaxReferenceBytes bounds a reference: that of 10,000 columns of 100 bins each has less.
const MaxReferenceBytes = 32 << 20

// maxReferenceFaults is how many faults of a reference are told.
const maxReferenceFaults = 20

// objects counts the objects of a JSON text, however deep.
func objects(text []byte) (n int) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == '{' && !quoted:
			n++
		}
	}
	return n
}

// ParseReference reads and checks a reference against the manifest that names it.
func ParseReference(name string, text []byte, m *Manifest) (*Reference, error) {
	// Before anything is made of it: an empty object of two bytes becomes a column of a hundred.
	most := len(m.Features) + len(m.Outputs)
	if len(text) > MaxReferenceBytes || objects(text) > most+3+len(EstimatedFigures) { // columns, quality, estimator with metrics, and itself
		return nil, fmt.Errorf("reference %s: more than %d MiB, or more columns than the %d that the manifest has", name, MaxReferenceBytes>>20, most)
	}
	var r Reference
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("reference %s: %w", name, err)
	}
	if dec.More() {
		return nil, fmt.Errorf("reference %s: more than one JSON value", name)
	}
	var errs []error
	bad := func(format string, args ...any) {
		switch n := len(errs); {
		case n < maxReferenceFaults:
			errs = append(errs, fmt.Errorf(format, args...))
		case n == maxReferenceFaults:
			errs = append(errs, errors.New("and more"))
		}
	}
	seen := map[string]bool{}
	for _, c := range r.Columns {
		if seen[c.Name] {
			bad("column %q stands twice", c.Name)
		}
		seen[c.Name] = true
		_, isFeature := m.Feature(c.Name)
		_, isOutput := m.Output(c.Name)
		if !isFeature && !isOutput {
			bad("column %q is neither a feature nor an output of the manifest", c.Name)
		}
		bins := len(c.Categories)
		if len(c.Edges) > 0 {
			bins = len(c.Edges) + 1
		}
		if len(c.Edges) > 0 && len(c.Categories) > 0 {
			bad("column %q has both edges and categories", c.Name)
		}
		if len(c.Counts) != bins {
			bad("column %q has %d counts for %d bins", c.Name, len(c.Counts), bins)
		}
		for i, e := range c.Edges {
			if math.IsNaN(e) || math.IsInf(e, 0) || (i > 0 && e <= c.Edges[i-1]) {
				bad("column %q: edges must be finite and ascend, edge %d is %v", c.Name, i, e)
			}
		}
		total := int64(0)
		for _, n := range append(slices.Clone(c.Counts), c.Missing, c.Other) {
			if n < 0 {
				bad("column %q has a negative count", c.Name)
			}
			total += n
		}
		if total != r.Rows {
			bad("column %q counts %d rows of %d", c.Name, total, r.Rows)
		}
	}
	if r.Estimator != nil {
		if m.Target == nil || m.Target.Kind != TargetBinary {
			bad("estimator: the manifest has no binary target, which it is of")
		}
		r.Estimator.Check(bad)
	}
	if m.Monitoring != nil {
		for i, c := range m.Monitoring.Checks {
			if c.Stattest.OfEstimate() && r.Estimator == nil && m.Monitoring.Reference == nil {
				bad("monitoring.checks[%d] needs estimates, and the reference has no estimator: make it of rows with labels and probabilities", i)
			}
			if _, ok := r.Column(c.Column); !ok && c.Column != "" {
				bad("monitoring.checks[%d] needs column %q, which the reference does not have", i, c.Column)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reference %s: %w", name, err)
	}
	return &r, nil
}
