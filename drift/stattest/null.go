package stattest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// A Null is what a distance is where nothing drifted: its distribution over the ways to deal
// the rows of both sides, taken together, to two sides of the sizes that were compared. Rows
// that are independent and of one distribution are as likely dealt one way as another, so
// that p-values by it are right at any number of rows, cells and ties; and whatever follows
// from the reference, such as bins that are its quantiles, is found again in every deal.
//
// A distance is above 0 where nothing drifted, the more so the fewer rows and the more cells
// there are. Expected is that part of it, and Effect what is left of a distance without it.
//
// The deals are drawn by the seed: a Null says the same of the same input and seed, whatever
// it was asked before. It is not safe for concurrent use, for it draws when it is asked.
type Null struct {
	// Expected is the distance where nothing drifted: the root of its mean square, for
	// distances that grow as a norm does, and its mean for those that grow as its square
	// (psi, kl_div, chisquare, g_test).
	Expected float64
	// Spread is the standard deviation of the distance where nothing drifted.
	Spread float64

	rows   [2]float64 // of the reference, of the current data
	square bool       // the distance grows as the square of a norm
	unit   float64    // of norms, so that their squares are numbers
	mean   float64    // of the squared norm
	one    float64    // the standard deviation of a norm in one direction
	deals  []float64  // the norms, in the order in which they were drawn
	most   int        // deals
	enough float64    // as NullOptions.Enough
	rarest float64    // rows of both sides of what the distance tells apart, where these are fewest
	sorted []float64  // all, ascending; nil: not yet asked for
	draw   func() (float64, error)
	err    error
	order  *order // of rows in the order of time
	rare   *rare  // of cells of which one has nearly all rows
}

// The stages by which p-values are found. A distance that ten of the deals reach needs no more
// of them.
const (
	firstDeals    = 200
	secondDeals   = 1000
	mostDeals     = 4000
	enoughDeals   = 10        // that reach a distance, for its p-value
	dealsCost     = 2_000_000 // deals times cells, at most, beyond secondDeals
	tailDeals     = 100       // the greatest, to which the tail is fitted
	clearly       = 100       // times below enough, by the tail of the first deals, is not found more precisely
	defaultEnough = 1e-7
)

// NullOptions are those of a Null. The zero value has the defaults.
type NullOptions struct {
	Seed uint64

	// Enough is a p-value that needs no more digits: a tenth of the rate that it is compared
	// with. What is below it by the tail of 1,000 deals, or far below by that of 200, is not
	// found more precisely. 0: 1e-7.
	Enough float64

	// Bins makes the cells of a numeric column from the reference, for a test of cells. It
	// is called in every deal.
	Bins func(reference Sample) (Bins, error)

	// Quantiles says that the bins are so many quantiles of the reference (QuantileBins), instead
	// of Bins: what they hold is dealt without dealing every value, in a tenth of the time.
	Quantiles int
}

// NullOfCells returns the null of a test of cells: categories, or bins that do not come from
// the reference. Both slices are whole numbers of rows, one entry a cell; cells that the test
// was given, though they have no rows, belong to them. Of a test with a p-value of its own, the
// score is the distance. The order of the cells does not matter to it.
//
// It costs 200 deals, each of which draws about as many numbers as there are cells, or rows on
// the smaller side, if these are fewer, and calls the test once: 0.3 ms for 10 cells, 10 ms for
// 1,000. A distance of which few deals are as great costs up to 100 times that.
func NullOfCells(test *Test, reference, current []float64, o NullOptions) (*Null, error) {
	if test.Cells == nil {
		return nil, fmt.Errorf("null of %s: it compares values, not cells", test.Name)
	}
	// The largest first, for most rows are dealt out soon; of equals the order does not matter.
	order := make([]int, len(reference))
	for i := range order {
		order[i] = i
	}
	if len(reference) == len(current) {
		slices.SortFunc(order, func(a, b int) int {
			return cmp.Compare(reference[b]+current[b], reference[a]+current[a])
		})
		sorted := [2][]float64{make([]float64, len(order)), make([]float64, len(order))}
		for to, from := range order {
			sorted[0][to], sorted[1][to] = reference[from], current[from]
		}
		reference, current = sorted[0], sorted[1]
	}
	return NullOf(Distance{Name: test.Name, Square: growsAsSquare(test.Name), Of: distanceOfCells(test)}, reference, current, o)
}

// distanceOfCells is the score of a test, without the p-value that it may have.
func distanceOfCells(test *Test) func(r, c []float64) (float64, error) {
	// f sums over the rows of a cell on both sides, what they would be, and those of the cell.
	sum := func(f func(r, c, ofR, ofC float64) float64) func(r, c []float64) float64 {
		return func(r, c []float64) float64 {
			n, m, out := 0.0, 0.0, 0.0
			for i := range r {
				n, m = n+r[i], m+c[i]
			}
			for i := range r {
				if all := r[i] + c[i]; all > 0 {
					out += f(r[i], c[i], all*(n/(n+m)), all*(m/(n+m)))
				}
			}
			return out
		}
	}
	var score func(r, c []float64) float64
	switch test.Name {
	case "chisquare", "z":
		score = sum(func(r, c, ofR, ofC float64) float64 { return (r-ofR)*(r-ofR)/ofR + (c-ofC)*(c-ofC)/ofC })
	case "g_test":
		of := func(n, expected float64) float64 {
			if n == 0 {
				return 0
			}
			return 2 * n * math.Log(n/expected)
		}
		score = sum(func(r, c, ofR, ofC float64) float64 { return of(r, ofR) + of(c, ofC) })
	case "TVD":
		return func(r, c []float64) (float64, error) {
			d, err := divergence(test.Name, r, c, func(_, _, d float64) float64 { return math.Abs(d) })
			return min(d/2, 1), err
		}
	default:
		return func(r, c []float64) (float64, error) {
			result, err := test.Cells(r, c, Options{})
			return result.Score, err
		}
	}
	return func(r, c []float64) (float64, error) {
		s := max(score(r, c), 0)
		if test.Name == "z" { // whose square is chisquare's
			s = math.Sqrt(s)
		}
		return s, nil
	}
}

// Distance is what a Null is of: a distance of the rows of two sides by cell.
type Distance struct {
	Name string
	// Square says that it grows as the square of a norm does, as psi and chisquare: where
	// a drift is twice as great, it is four times as great.
	Square bool
	// Of returns the distance, which is finite and at least 0. It keeps neither slice.
	Of func(reference, current []float64) (float64, error)
}

// NullOf is NullOfCells of any distance, also one to which the order of the cells matters.
func NullOf(distance Distance, reference, current []float64, o NullOptions) (*Null, error) {
	what := "null of " + distance.Name
	var d dealer
	var err error
	if d.rows[0], d.rows[1], err = totals(what, reference, current); err != nil {
		return nil, err
	}
	if d.rows[0]+d.rows[1] > 1<<53 {
		return nil, fmt.Errorf("%s: %v rows, at most 2^53 can be counted", what, d.rows[0]+d.rows[1])
	}
	for i := range reference {
		if reference[i] != math.Trunc(reference[i]) || current[i] != math.Trunc(current[i]) {
			return nil, fmt.Errorf("%s: cell %d: %w", what, i, ErrFractional)
		}
		d.cells = append(d.cells, reference[i]+current[i])
		if rows := reference[i] + current[i]; rows > 0 && (d.rarest == 0 || rows < d.rarest) {
			d.rarest = rows
		}
	}
	n, err := d.null(distance, o)
	if err == nil {
		n.rare = newRare(n, distance, reference, current)
	}
	return n, err
}

// NullOfValues returns the null of a distance of values (wasserstein, wasserstein_raw, ed, ks), or
// of a test of cells over the bins that o.Quantiles or o.Bins make of the reference. Values are taken
// together to at most about a thousand, the outermost of which stay as they are, where there
// are more: what that changes is far below Spread.
//
// It costs some 200 deals, of 5 to 30 µs each, and for a distance of which few deals are as
// great up to 20 times that.
func NullOfValues(test *Test, reference, current Sample, o NullOptions) (*Null, error) {
	what := "null of " + test.Name
	reference, current = FiniteOnly(reference), FiniteOnly(current)
	if err := needCounts(what, reference, current, 1); err != nil {
		return nil, err
	}
	d := dealer{rows: [2]float64{reference.Rows(), current.Rows()}}
	values := d.pool(reference, current)
	d.rarest = 1
	switch distance := (Distance{Name: test.Name, Square: growsAsSquare(test.Name)}); {
	case o.Quantiles > 0 && test.Cells != nil:
		d.rarest = d.rows[0] + d.rows[1]
		d.prepareNull(o.Seed)
		return d.nullBy(distance, o, d.byQuantiles(test, values, o.Quantiles))
	case o.Bins != nil && test.Cells != nil:
		d.rarest = d.rows[0] + d.rows[1]
		distance.Of = d.binned(test, values, o.Bins)
		return d.null(distance, o)
	case test.Name == "wasserstein", test.Name == "wasserstein_raw", test.Name == "ed", test.Name == "ks":
		if test.Name == "ks" { // of which no row makes more than its share
			d.rarest = d.rows[0] + d.rows[1]
		}
		distance.Of = distanceOfValues(test.Name, values)
		return d.null(distance, o)
	default:
		return nil, fmt.Errorf("%s: it is no distance that deals of the values are made of", what)
	}
}

// NullOfMeans returns the null of the difference of two means, whichever is the greater.
func NullOfMeans(reference, current Sample, o NullOptions) (*Null, error) {
	const what = "null of means"
	if err := needFinite(what, reference, current); err != nil {
		return nil, err
	}
	if err := needCounts(what, reference, current, 1); err != nil {
		return nil, err
	}
	d := dealer{rows: [2]float64{reference.Rows(), current.Rows()}, rarest: 1}
	values := d.pool(reference, current)
	return d.null(Distance{Name: "means", Of: func(r, c []float64) (float64, error) {
		var n, m, a, b float64
		for i, v := range values {
			n, m, a, b = n+r[i], m+c[i], a+r[i]*v, b+c[i]*v
		}
		return math.Abs(a/n - b/m), nil
	}}, o)
}

// HasNull says whether the verdict of a test is better made by a Null: that of all distances
// is, and that of the tests of cells whose own p-value is one that few rows do not follow, or
// by deals, of which there are too few for many columns.
func HasNull(t *Test) bool {
	switch t.Name {
	case "chisquare", "g_test", "z", "TVD":
		return true
	}
	return !t.PValue
}

func growsAsSquare(test string) bool {
	switch test {
	case "psi", "kl_div", "chisquare", "g_test":
		return true
	}
	return false
}

// norm returns what grows as a norm, of a score.
func (n *Null) norm(score float64) float64 {
	if n.square {
		return math.Sqrt(max(score, 0))
	}
	return score / n.unit
}

func (n *Null) score(norm float64) float64 {
	if n.square {
		return norm * norm
	}
	return norm * n.unit
}

// need draws deals until there are so many.
func (n *Null) need(deals int) bool {
	for len(n.deals) < deals && n.err == nil {
		x, err := n.draw()
		if err == nil && x-x != 0 {
			err = fmt.Errorf("a deal's distance is %v: the values are too large for float64", x)
		}
		if err != nil {
			n.err = err
			break
		}
		n.deals = append(n.deals, n.norm(x))
	}
	return n.err == nil
}

// start draws the first deals, and describes them.
func (n *Null) start() error {
	if !n.need(firstDeals) {
		return n.err
	}
	// The distances of values have their unit, which may be extreme.
	if most := slices.Max(n.deals); !n.square && most > 0 && math.Abs(math.Log10(most)) > 100 {
		n.unit = most
		for i := range n.deals {
			n.deals[i] /= most
		}
	}
	k := float64(firstDeals)
	mean, first, square := 0.0, 0.0, 0.0
	for _, x := range n.deals[:firstDeals] {
		mean += x * x / k
		first += n.score(x) / k
	}
	for _, x := range n.deals[:firstDeals] {
		square += (n.score(x) - first) / n.unit * ((n.score(x) - first) / n.unit) / (k - 1)
	}
	n.mean, n.Spread = mean, math.Sqrt(square)*n.unit
	n.Expected = n.score(math.Sqrt(mean))
	// The squared norm is about one² times a chi-square of as many degrees of freedom as
	// directions (Satterthwaite): its variance is 2·one²·mean.
	variance := 0.0
	for _, x := range n.deals[:firstDeals] {
		variance += (x*x - mean) * (x*x - mean) / (k - 1)
	}
	if mean > 0 {
		n.one = math.Sqrt(variance / (2 * mean))
	}
	return nil
}

// Share returns how many of the first deals reach a distance: the p-value where that is not
// small, at little cost.
func (n *Null) Share(score float64) float64 {
	x, reached := n.norm(score), 0
	for _, d := range n.deals[:firstDeals] {
		if d >= x {
			reached++
		}
	}
	return float64(reached) / firstDeals
}

// PValue returns the chance of a distance of at least this one where nothing drifted: of the
// deals, (1+b)/(1+deals), where b deals are as great; where few are, also by the tail of the
// greatest, and then the lesser of the two.
func (n *Null) PValue(score float64) float64 {
	x, least := n.norm(score), 0.0
	if n.order != nil {
		least = n.order.pValue(n, x)
	}
	return max(n.dealt(x, least), least)
}

// dealt is the p-value by deals of single rows, by stages: what few of the deals reach, gets
// more of them, and stays below what it was.
//
// It draws no more deals once it is at most enough.
func (n *Null) dealt(x, enough float64) float64 {
	least := x * (1 - 1e-9) // rounding does not make equal distances unequal
	most := 1.0
	for _, deals := range []int{firstDeals, secondDeals, n.most} {
		if !n.need(deals) {
			return 1
		}
		reached := 0
		for _, d := range n.deals[:deals] {
			if d >= least {
				reached++
			}
		}
		p := float64(1+reached) / float64(1+deals)
		if reached >= enoughDeals {
			return min(p, most)
		}
		by := newTails(n.deals[:deals]).pValue(least)
		switch { // each stage has its own range, so that p-values fall as distances grow
		case deals < n.most && !n.seen(deals):
		case deals == firstDeals && by < n.enough/clearly:
			return max(by, n.least())
		case deals == secondDeals && by < n.enough:
			return max(by, n.enough/clearly, n.least())
		case deals == n.most:
			by = max(by, float64(reached)/float64(deals))
			return max(min(p, by, most), n.enough, n.least())
		}
		if most = float64(1+enoughDeals) / float64(1+deals); most <= enough {
			return most
		}
	}
	return 1
}

// seen says that so many deals are likely to have had any one of the fewest rows that a distance
// tells apart on the smaller side, where a value far out of place, or a cell of its own, is most of
// the distance: the tail of deals without it knows nothing of it.
func (n *Null) seen(deals int) bool {
	return float64(deals)*n.rarest*min(n.rows[0], n.rows[1]) >= enoughDeals*(n.rows[0]+n.rows[1])
}

// least is the chance of one deal of all there are.
func (n *Null) least() float64 {
	return max(oneDeal(n.rows[0], n.rows[1]), math.SmallestNonzeroFloat64)
}

// Threshold returns the distance that is reached at a rate, above 0 and below 1, where nothing
// drifted: infinite if a deal fails, which no deal of finite values does.
func (n *Null) Threshold(rate float64) float64 {
	if !n.need(n.most) {
		return math.Inf(1)
	}
	if n.sorted == nil {
		n.sorted = slices.Sorted(slices.Values(n.deals[:n.most]))
	}
	// The p-value of the k-th greatest is (1+k)/(1+deals).
	var x float64
	if k := int(rate*float64(n.most+1)) - 1; k >= enoughDeals {
		x = n.sorted[n.most-min(k, n.most)]
	} else {
		x = newTails(n.deals[:n.most]).threshold(rate)
	}
	if n.order != nil {
		x = max(x, n.order.limit(n.mean, rate))
	}
	return n.score(x)
}

// Effect returns a distance without what it is where nothing drifted: for a norm the root of
// score² - Expected², for the square of a norm score - Expected, and never below 0. The square
// of a norm is on average that of the drift and that of chance together.
func (n *Null) Effect(score float64) float64 {
	return n.score(without(n.norm(score), math.Sqrt(n.mean)))
}

// without is √(x²-y²), or 0 where that is less.
func without(x, y float64) float64 {
	if x <= y {
		return 0
	}
	return math.Sqrt(x-y) * math.Sqrt(x+y)
}

// Mark returns the score of an effect: the inverse of Effect.
func (n *Null) Mark(effect float64) float64 {
	return min(n.score(math.Hypot(n.norm(effect), math.Sqrt(n.mean))), math.MaxFloat64)
}

// Power returns what the null says of the effects that are found at its sizes.
func (n *Null) Power() Power {
	return Power{mean: n.mean, bias: n.mean, one: n.one, unit: n.unit, square: n.square, order: n.order, rare: n.rare, least: n.least()}
}

// tail is the distribution of the norm beyond the greatest of the deals: what it exceeds is
// exponential. That is the heavier tail for all that is normal, whose norm has that of a
// normal number, and right for what a few great values make. As the mean excess is itself
// that of some deals, the chance is by the F distribution, which takes that into account.
type tail struct {
	share float64 // of the deals that are beyond from
	count float64 // how many these are
	from  float64
	mean  float64 // by how much they are beyond it
	deals float64 // all
}

// tails are two fits, of which the one that calls more things chance is believed: to the
// greatest of the deals, and to the very greatest, which may be of another kind, such as those
// that have a value far out of place on the smaller side.
type tails [2]tail

func newTails(norms []float64) tails {
	s := slices.Sorted(slices.Values(norms))
	return tails{newTail(s, min(tailDeals, len(s)/10)), newTail(s, enoughDeals)}
}

func (t tails) pValue(x float64) float64 { return max(t[0].pValue(x), t[1].pValue(x)) }

func (t tails) threshold(rate float64) float64 {
	return max(t[0].threshold(rate), t[1].threshold(rate))
}

// newTail fits the tail to the k greatest of ascending norms, without those that tie with the
// least of these: where most deals are equal, as of a column that has another value once, the
// few that are not say how rare more is.
func newTail(ascending []float64, k int) tail {
	n := len(ascending)
	t := tail{from: ascending[n-1-k], deals: float64(n)}
	for _, x := range slices.Backward(ascending[n-k:]) {
		if x <= t.from*(1+1e-9) {
			break
		}
		t.count++
		t.mean += x - t.from
	}
	t.share = t.count / t.deals
	if t.count > 0 {
		t.mean /= t.count
	}
	return t
}

func (t tail) pValue(x float64) float64 {
	switch {
	case x <= t.from:
		return 1
	case t.count == 0: // that no deal is greater says no more than this
		return 1 / (1 + t.deals)
	}
	return t.share * math.Exp(-t.count*math.Log1p((x-t.from)/(t.count*t.mean)))
}

func (t tail) threshold(rate float64) float64 {
	if t.count == 0 {
		return t.from
	}
	return t.from + t.count*t.mean*math.Expm1(max(math.Log(t.share/rate), 0)/t.count)
}
