package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/millrace/millrace/drift/multivariate"
	"github.com/millrace/millrace/drift/stattest"
)

// Methods of Options.Multivariate.
const (
	multiPCA    = "pca"
	multiDomain = "domain"
	multiEnergy = "energy"
)

var multivariateMethods = []string{multiPCA, multiDomain, multiEnergy}

const (
	maxTogether     = 100_000 // rows of a side, a sample of more
	minTogetherRows = 20      // of a side
	fewCategories   = 50      // of a column, up to which it takes part
	domainThreshold = 0.65    // area from which the sides differ, NannyML's
)

// multivariate compares the columns together. What cannot be judged is a note: the rest of the
// report stands.
func (e *engine) multivariate(ctx context.Context, r *Result, all []done) error {
	if len(e.Multivariate) == 0 {
		return nil
	}
	var plans []*plan
	var texts []codes
	var names, left []string
	var categorical []bool
	for _, d := range all {
		c := &d.whole.column
		switch {
		case d.plan.skip != "" || d.whole.skip:
			continue
		case c.NReference == 0 || c.NCurrent == 0,
			c.Type == TypeCategorical && max(c.DataQuality.Reference.Distinct, c.DataQuality.Current.Distinct) > fewCategories:
			left = append(left, d.plan.name)
			continue
		}
		plans, names = append(plans, d.plan), append(names, d.plan.name)
		texts, categorical = append(texts, codes{}), append(categorical, c.Type == TypeCategorical)
	}
	if len(left) > 0 {
		e.note("the multivariate methods leave out %s: they have no values on a side, or more than %d categories", listed(left), fewCategories)
	}
	if len(plans) < 2 {
		e.note("--multivariate is not judged: it needs at least 2 columns, and has %s", cmp.Or(listed(names), "none"))
		return nil
	}
	var sides [2]multivariate.Matrix
	for k := range sides {
		sides[k].Categorical, sides[k].Names = categorical, names
		var err error
		if sides[k].Columns, err = e.together(ctx, k, plans, texts); err != nil {
			return err
		}
		if rows, t := sides[k].Rows(), &e.tables[k]; int64(rows) < t.rows {
			e.note("the multivariate methods see a sample of %s of %s", count(int64(rows), "row"), t.source.Name())
		} else if rows < minTogetherRows {
			e.note("--multivariate is not judged: %s has %s, at least %d are needed on each side", t.source.Name(), count(int64(rows), "row"), minTogetherRows)
			return nil
		}
	}
	for _, method := range slices.Compact(slices.Sorted(slices.Values(e.Multivariate))) {
		m, err := e.judgeTogether(method, sides[0], sides[1])
		if err != nil {
			e.note("%v", err)
			continue
		}
		m.Columns = names
		r.Multivariate = append(r.Multivariate, m)
	}
	return nil
}

func (e *engine) judgeTogether(method string, reference, current multivariate.Matrix) (m Multivariate, err error) {
	var parts []multivariate.Contribution
	switch method {
	case multiPCA:
		var p *multivariate.PCA
		if p, err = multivariate.FitPCA(reference, multivariate.PCAOptions{}); err != nil {
			return m, err
		}
		result, err := p.Compare(current)
		if err != nil {
			return m, err
		}
		m = Multivariate{Method: "pca_reconstruction", Score: result.Error, Reference: &p.ReferenceError, Threshold: p.Lower, UpperLimit: &p.Upper, Drifted: result.Drifted}
		m.Rows = int64(max(reference.Rows(), current.Rows()))
		if e.Rule == RuleRate {
			if err := e.judgePCA(&m, reference, current); err != nil {
				return m, err
			}
		}
		if result.Error > 0 { // else there are no parts of it
			parts = result.Contributions
		}
	case multiDomain:
		o := multivariate.ClassifierOptions{Threshold: domainThreshold, Seed: e.Seed}
		result, err := multivariate.Classify(reference, current, o)
		if err != nil {
			return m, err
		}
		m = Multivariate{Method: "domain_classifier", Score: result.AUC, Threshold: &o.Threshold, PValue: &result.PValue, Drifted: result.Drifted}
		m.Rows, parts = int64(max(result.RowsOfReference, result.RowsOfCurrent)), result.Contributions
	case multiEnergy:
		result, err := multivariate.Energy(reference, current, multivariate.EnergyOptions{Seed: e.Seed})
		if err != nil {
			return m, err
		}
		m = Multivariate{Method: "energy", Score: result.Distance, PValue: &result.PValue, Drifted: result.Drifted}
		m.Rows, parts = int64(max(result.RowsOfReference, result.RowsOfCurrent)), result.Contributions
	}
	for _, c := range parts {
		m.Contributions = append(m.Contributions, Contribution{Column: reference.Names[c.Column], Share: c.Share})
	}
	return m, nil
}

// judgePCA judges by the difference of the mean errors of rows that the components were not
// fitted to, in standard deviations of the errors.
func (e *engine) judgePCA(m *Multivariate, reference, current multivariate.Matrix) error {
	x, y, err := multivariate.HeldOutErrors(reference, current, multivariate.PCAOptions{})
	if err != nil {
		return fmt.Errorf("not judged: %w", err)
	}
	n, err := stattest.NullOfMeans(stattest.NewSample(x), stattest.NewSample(y), stattest.NullOptions{Seed: e.Seed})
	if err != nil {
		return fmt.Errorf("pca reconstruction: not judged: %w", err)
	}
	difference, deviation := stat.Mean(y, nil)-stat.Mean(x, nil), stat.StdDev(slices.Concat(x, y), nil)
	if deviation == 0 {
		return errors.New("pca reconstruction: not judged: the errors of all rows are the same")
	}
	p, effect := n.PValue(math.Abs(difference)), difference/deviation
	m.PValue, m.EffectSize = &p, &effect
	m.Drifted = p <= e.Rate && math.Abs(effect) >= e.effect
	if smallest := n.Power().Over(deviation*deviation).SmallestEffect(e.Rate, e.effect); !m.Drifted && smallest > e.Detectable {
		return fmt.Errorf("pca reconstruction: not judged: of %d and %d rows, only a difference of %s standard deviations of the errors would have been found, not one of %s",
			len(x), len(y), formatNumber(smallest), formatNumber(e.Detectable))
	}
	return nil
}

// together reads rows of several columns: all, or a sample in their order by the seed.
// Infinite values are missing here, as they are elsewhere.
func (e *engine) together(ctx context.Context, k int, plans []*plan, texts []codes) ([][]float64, error) {
	rows := e.tables[k].rows
	most := min(maxTogether, max(e.Memory/32/int64(len(plans)), minTogetherRows)) // a quarter of the memory for both sides
	rng := randomOf(e.Seed, seedOf("", k, 0))
	out := make([][]float64, len(plans))
	wanted := min(rows, most)
	left := rows
	err := e.scanRows(ctx, k, plans, texts, func(_ int64, columns [][]float64) error {
		for i := range columns[0] {
			if wanted < left && int64(rng.Uint64N(uint64(left))) >= wanted { // Knuth's algorithm S
				left--
				continue
			}
			left--
			wanted--
			for j, c := range columns {
				v := c[i]
				if v-v != 0 {
					v = math.NaN()
				}
				out[j] = append(out[j], v)
			}
		}
		return nil
	})
	return out, err
}
