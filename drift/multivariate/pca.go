package multivariate

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// PCAOptions are the parameters of FitPCA. The zero value has NannyML's defaults.
type PCAOptions struct {
	Explained  float64 // share of variance that the components explain; 0: 0.65
	Components int     // their number, instead of Explained
	Chunks     int     // of each side, and one of the rows that are left; 0: 10
	ChunkSize  int     // in rows, instead of Chunks
	Deviations float64 // limits are the chunks' mean and so many of their standard deviations; 0: 3
}

func (o PCAOptions) withDefaults() (PCAOptions, error) {
	var errs []error
	if o.Explained == 0 {
		o.Explained = 0.65
	}
	if o.Chunks == 0 {
		o.Chunks = 10
	}
	if o.Deviations == 0 {
		o.Deviations = 3
	}
	if !(o.Explained > 0 && o.Explained < 1) {
		errs = append(errs, fmt.Errorf("explained variance must be between 0 and 1, got %v", o.Explained))
	}
	if !(o.Deviations > 0) || math.IsInf(o.Deviations, 0) {
		errs = append(errs, fmt.Errorf("deviations must be above 0, got %v", o.Deviations))
	}
	for _, v := range []struct {
		what string
		n    int
	}{{"components", o.Components}, {"chunks", o.Chunks}, {"chunk size", o.ChunkSize}} {
		if v.n < 0 {
			errs = append(errs, fmt.Errorf("%s must be at least 0, got %d", v.what, v.n))
		}
	}
	return o, errors.Join(errs...)
}

// Chunk is the reconstruction error of consecutive rows.
type Chunk struct {
	First, Rows   int
	Error         float64 // mean over the rows
	SamplingError float64 // standard error of the mean; 0 of a single row
	Drifted       bool    // Error is outside the limits
}

// PCA is a fitted reference.
//
// Columns are imputed (mean; categorical: mode, of several the smallest code), categories
// replaced by their share in the reference (0 where it has none), all standardised, and
// reduced to principal components. A row's reconstruction error is the distance between its
// standardised values and what the components say of them: it grows where columns stop
// moving together as they did, and may fall where they move together more.
type PCA struct {
	// Reference holds its chunks, by which the limits were set.
	Reference []Chunk
	// ReferenceError is the mean over all of its rows.
	ReferenceError float64
	// Lower and Upper are the limits: a mean error outside of them drifts. Lower is nil where
	// it would not be above 0.
	Lower *float64
	Upper float64
	// Explained is the share of variance that the components explain.
	Explained float64

	options    PCAOptions
	reference  Matrix // without its values
	columns    []column
	fill       []float64             // of categorical columns
	frequency  []map[float64]float64 // of categorical columns
	components *mat.Dense            // one a column
	squares    []float64             // mean squared residual by column
}

// PCAResult is what the current side is by a PCA.
type PCAResult struct {
	Error         float64 // mean over all rows
	SamplingError float64 // standard error of the mean; 0 of a single row
	Drifted       bool    // Error is outside the reference's limits
	Chunks        []Chunk // each judged on its own; limits are fair for chunks of the reference's size

	// Contributions are the columns' parts in the change of the mean squared error against
	// the reference, in either direction.
	Contributions []Contribution
}

// blockRows are standardised and reconstructed at a time.
const blockRows = 1024

// FitPCA fits a reference of at least 2 rows, of which a column varies.
func FitPCA(reference Matrix, o PCAOptions) (*PCA, error) {
	p, err := fitPCA(reference, o)
	if err != nil {
		return nil, fmt.Errorf("pca reconstruction: %w", err)
	}
	return p, nil
}

func fitPCA(reference Matrix, o PCAOptions) (*PCA, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := reference.check("reference", 2); err != nil {
		return nil, err
	}
	if err := reference.checkFinite("reference"); err != nil {
		return nil, err
	}
	n := reference.Rows()
	p := &PCA{options: o, reference: Matrix{
		Columns: make([][]float64, len(reference.Columns)), Categorical: reference.Categorical, Names: reference.Names,
	}}
	if o.ChunkSize == 0 && n < o.Chunks {
		return nil, fmt.Errorf("reference: %w: %d rows, must be at least one for each of %d chunks", ErrNoData, n, o.Chunks)
	}
	if err := p.fitColumns(reference); err != nil {
		return nil, err
	}
	if err := p.fitComponents(reference, o); err != nil {
		return nil, err
	}

	t := p.reconstruct(reference, nil)
	p.ReferenceError, p.squares = t.all.mean, t.squares
	p.Reference = t.chunks
	sum, squares := 0.0, 0.0
	for _, c := range t.chunks {
		sum += c.Error
	}
	mean := sum / float64(len(t.chunks))
	for _, c := range t.chunks {
		squares += (c.Error - mean) * (c.Error - mean)
	}
	margin := o.Deviations * math.Sqrt(squares/float64(len(t.chunks)))
	p.Upper = mean + margin
	if lower := mean - margin; lower > 0 {
		p.Lower = &lower
	}
	for i := range p.Reference {
		p.Reference[i].Drifted = p.drifted(p.Reference[i].Error)
	}
	return p, nil
}

func (p *PCA) drifted(e float64) bool { return e > p.Upper || p.Lower != nil && e < *p.Lower }

func (p *PCA) fitColumns(reference Matrix) error {
	n := len(reference.Columns)
	p.columns = make([]column, n)
	p.fill, p.frequency = make([]float64, n), make([]map[float64]float64, n)
	for j, values := range reference.Columns {
		if reference.categorical(j) {
			if !p.fitCategories(j, values) {
				return noValue(reference, j)
			}
			encoded := make([]float64, len(values))
			for i, v := range values {
				encoded[i] = p.encode(j, v)
			}
			values = encoded
		}
		var ok bool
		if p.columns[j], ok = fit(values); !ok {
			return noValue(reference, j)
		}
	}
	return nil
}

func noValue(m Matrix, j int) error {
	return fmt.Errorf("reference: %w: %s has no value", ErrNoData, m.name(j))
}

func (p *PCA) fitCategories(j int, values []float64) bool {
	counts := map[float64]float64{}
	missing := 0.0
	for _, v := range values {
		if math.IsNaN(v) {
			missing++
		} else {
			counts[v]++
		}
	}
	if len(counts) == 0 {
		return false
	}
	mode, most := 0.0, 0.0
	for v, c := range counts {
		if c > most || c == most && v < mode {
			mode, most = v, c
		}
	}
	counts[mode] += missing
	for v := range counts {
		counts[v] /= float64(len(values))
	}
	p.fill[j], p.frequency[j] = mode, counts
	return true
}

// encode is the number that stands for a value before it is standardised.
func (p *PCA) encode(j int, v float64) float64 {
	if p.frequency[j] == nil {
		return v
	}
	if math.IsNaN(v) {
		v = p.fill[j]
	}
	return p.frequency[j][v]
}

// block puts the standardised values of rows from first on into z, which has one row a column
// of the data.
func (p *PCA) block(m Matrix, first, rows int, z *mat.Dense) {
	z.Reset()
	z.ReuseAs(len(m.Columns), rows)
	for j, values := range m.Columns {
		out := z.RawRowView(j)
		for i := range rows {
			out[i] = p.columns[j].at(p.encode(j, values[first+i]))
		}
	}
}

// fitComponents finds the components by the covariance matrix where rows are many, and else
// by the singular values of all rows, which have twice the digits: scikit-learn's rule.
func (p *PCA) fitComponents(reference Matrix, o PCAOptions) error {
	n, d := reference.Rows(), len(reference.Columns)
	if most := min(n, d); o.Components > most {
		return fmt.Errorf("%d components of %d rows and %d columns, can be at most %d", o.Components, n, d, most)
	}
	var variances []float64 // descending
	vectors := new(mat.Dense)
	if n >= 10*d {
		covariance := mat.NewSymDense(d, nil)
		var z mat.Dense
		for first := 0; first < n; first += blockRows {
			p.block(reference, first, min(blockRows, n-first), &z)
			covariance.SymRankK(covariance, 1/float64(n-1), &z)
		}
		var eigen mat.EigenSym
		if !eigen.Factorize(covariance, true) {
			return errors.New("the covariance matrix has no eigenvalues that could be found")
		}
		ascending := eigen.Values(nil)
		var v mat.Dense
		eigen.VectorsTo(&v)
		vectors.ReuseAs(d, d)
		variances = make([]float64, d)
		for k := range d {
			variances[k] = math.Max(0, ascending[d-1-k])
			vectors.SetCol(k, mat.Col(nil, d-1-k, &v))
		}
	} else {
		var z mat.Dense
		p.block(reference, 0, n, &z)
		var pc stat.PC
		if !pc.PrincipalComponents(z.T(), nil) {
			return errors.New("the reference has no principal components that could be found")
		}
		variances = pc.VarsTo(nil)
		pc.VectorsTo(vectors)
	}

	total := 0.0
	for _, v := range variances {
		total += v
	}
	// A constant column is 0 but for rounding; others add 1 each.
	if !(total > 1e-6) {
		return fmt.Errorf("reference: %w: no column varies", ErrNoData)
	}
	explained := make([]float64, len(variances))
	sum := 0.0
	for k, v := range variances {
		sum += v / total
		explained[k] = sum
	}
	k := o.Components
	if k == 0 { // the least number that explains more than the share
		k = min(len(variances), 1+sort.Search(len(explained), func(i int) bool { return explained[i] > o.Explained }))
	}
	p.Explained = math.Min(explained[k-1], 1)
	p.components = mat.DenseCopyOf(vectors.Slice(0, d, 0, k))
	return nil
}

// Components is their number.
func (p *PCA) Components() int {
	_, k := p.components.Dims()
	return k
}

// running is a mean and sum of squared deviations, by Welford's algorithm.
type running struct {
	n       int
	mean, s float64
}

func (r *running) add(x float64) {
	r.n++
	old := r.mean
	r.mean += (x - old) / float64(r.n)
	r.s += (x - old) * (x - r.mean)
}

func (r *running) standardError() float64 {
	if r.n < 2 {
		return 0
	}
	return math.Sqrt(r.s / float64(r.n-1) / float64(r.n))
}

type reconstruction struct {
	all     running
	chunks  []Chunk
	squares []float64 // mean squared residual by column
}

// reconstruct calls each, unless it is nil, with the error of each row.
func (p *PCA) reconstruct(m Matrix, each func(float64)) reconstruction {
	n, d := m.Rows(), len(m.Columns)
	t := reconstruction{squares: make([]float64, d)}
	size := p.options.ChunkSize
	if size == 0 {
		size = max(1, n/p.options.Chunks)
	}
	var chunk running
	closeChunk := func(end int) {
		t.chunks = append(t.chunks, Chunk{First: end - chunk.n, Rows: chunk.n, Error: chunk.mean, SamplingError: chunk.standardError()})
		chunk = running{}
	}
	var z, scores, back mat.Dense
	errs, norms := make([]float64, blockRows), make([]float64, blockRows)
	for first := 0; first < n; first += blockRows {
		rows := min(blockRows, n-first)
		p.block(m, first, rows, &z)
		scores.Reset()
		back.Reset()
		scores.Mul(p.components.T(), &z)
		back.Mul(p.components, &scores)
		errs, norms = errs[:rows], norms[:rows]
		clear(errs)
		clear(norms)
		for j := range d {
			values, fitted := z.RawRowView(j), back.RawRowView(j)
			sum := 0.0
			for i := range values {
				square := (values[i] - fitted[i]) * (values[i] - fitted[i])
				errs[i] += square
				norms[i] += values[i] * values[i]
				sum += square
			}
			t.squares[j] += sum / float64(n)
		}
		for i, e := range errs {
			e = math.Sqrt(e)
			if e < 1e-12*math.Sqrt(norms[i]) {
				e = 0 // rounding explains it: the components hold the whole row
			}
			t.all.add(e)
			chunk.add(e)
			if each != nil {
				each(e)
			}
			if chunk.n == size {
				closeChunk(first + i + 1)
			}
		}
	}
	if chunk.n > 0 { // what is left is a chunk of its own
		closeChunk(n)
	}
	return t
}

// Compare reconstructs the current side, of at least one row.
func (p *PCA) Compare(current Matrix) (PCAResult, error) {
	err := current.check("current", 1)
	if err == nil {
		err = sameColumns(p.reference, current)
	}
	if err == nil {
		err = current.checkFinite("current")
	}
	if err != nil {
		return PCAResult{}, fmt.Errorf("pca reconstruction: %w", err)
	}
	t := p.reconstruct(current, nil)
	for i := range t.chunks {
		t.chunks[i].Drifted = p.drifted(t.chunks[i].Error)
	}
	changes := make([]float64, len(t.squares))
	for j, s := range t.squares {
		changes[j] = math.Abs(s - p.squares[j])
	}
	return PCAResult{
		Error:         t.all.mean,
		SamplingError: t.all.standardError(),
		Drifted:       p.drifted(t.all.mean),
		Chunks:        t.chunks,
		Contributions: shares(changes),
	}, nil
}
