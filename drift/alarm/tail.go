package alarm

import (
	"math"
	"math/rand/v2"
	"slices"
)

// tail is the distribution of a score where nothing drifts: its quantiles as observed, and
// beyond a level those of a generalised Pareto distribution (peaks over threshold: Pickands 1975;
// Davison and Smith 1990).
type tail struct {
	sorted []float64 // ascending
	peaks  int       // of the greatest are above the level
	level  float64
	scale  float64
	shape  float64
	fit    float64 // p-value of the fit; 1 where none was tested
}

// MaxShape bounds the shape of a tail. It is at least 0, that of exponential tails: a bounded
// tail would promise most where a reference is short.
const MaxShape = 0.5

// Numbers of peaks that a tail is fitted to.
const (
	leastPeaks = 10
	mostPeaks  = 250
)

// newTail fits the tail of scores, which it sorts. With checks > 0 the fit is tested by as many
// draws of the fitted distribution, and the level is raised where the peaks do not come of it.
func newTail(scores []float64, checks int, random *rand.Rand) *tail {
	slices.Sort(scores)
	n := len(scores)
	t := &tail{sorted: scores}
	for peaks := min(max(n/8, min(n/2, 20)), mostPeaks); ; peaks = max(peaks*2/3, leastPeaks) {
		t.peaks = peaks
		t.level = scores[n-peaks-1]
		t.scale, t.shape = paretoFit(scores[n-peaks:], t.level)
		t.fit = 1
		if checks == 0 {
			return t
		}
		if t.fit = t.goodness(checks, random); t.fit >= 0.05 || peaks <= leastPeaks {
			return t
		}
	}
}

// paretoFit fits a generalised Pareto distribution to what ascending peaks exceed the level by, by
// probability-weighted moments (Hosking and Wallis 1987), with the shape within 0 to MaxShape.
func paretoFit(peaks []float64, level float64) (scale, shape float64) {
	n := float64(len(peaks))
	var mean, weighted float64
	for i, x := range peaks {
		mean += (x - level) / n
		weighted += (1 - (float64(i)+0.65)/n) * (x - level) / n
	}
	if mean <= 0 {
		return 0, 0
	}
	if d := mean - 2*weighted; d > 0 {
		shape = 2 - mean/d
	} else {
		shape = MaxShape
	}
	shape = min(max(shape, 0), MaxShape)
	return mean * (1 - shape), shape
}

// excess is the quantile of a generalised Pareto distribution at 1-p.
func excess(p, scale, shape float64) float64 {
	if shape == 0 {
		return -scale * math.Log(p)
	}
	return scale * math.Expm1(-shape*math.Log(p)) / shape
}

// quantile returns the score that is exceeded with probability p in (0, 1].
func (t *tail) quantile(p float64) float64 {
	n := len(t.sorted)
	if beyond := float64(t.peaks) / float64(n); p < beyond {
		return t.level + excess(p/beyond, t.scale, t.shape)
	}
	at := (1-p)*float64(n) - 0.5
	i := min(max(int(math.Floor(at)), 0), n-1)
	j := min(i+1, n-1)
	return min(t.sorted[i]+(t.sorted[j]-t.sorted[i])*min(max(at-float64(i), 0), 1), t.level)
}

// beyond returns the probability that a score exceeds x.
func (t *tail) beyond(x float64) float64 {
	low, high := -745.0, 0.0 // of the logarithm
	for range 60 {
		if middle := (low + high) / 2; t.quantile(math.Exp(middle)) > x {
			low = middle
		} else {
			high = middle
		}
	}
	return math.Exp(high)
}

// goodness is the p-value of the Cramér–von Mises statistic of the peaks, by draws of the fitted
// distribution that are fitted themselves (Choulakian and Stephens 2001 tabulate it).
func (t *tail) goodness(draws int, random *rand.Rand) float64 {
	if t.scale == 0 {
		return 1
	}
	n := len(t.sorted)
	own := cramer(t.sorted[n-t.peaks:], t.level, t.scale, t.shape)
	drawn := make([]float64, t.peaks)
	reached := 1
	for range draws {
		for i := range drawn {
			drawn[i] = excess(1-random.Float64(), t.scale, t.shape)
		}
		slices.Sort(drawn)
		scale, shape := paretoFit(drawn, 0)
		if cramer(drawn, 0, scale, shape) >= own {
			reached++
		}
	}
	return float64(reached) / float64(draws+1)
}

func cramer(peaks []float64, level, scale, shape float64) float64 {
	n := float64(len(peaks))
	sum := 1 / (12 * n)
	for i, x := range peaks {
		u := -math.Expm1(-(x - level) / scale)
		if shape > 0 {
			u = 1 - math.Pow(1+shape*(x-level)/scale, -1/shape)
		}
		d := u - (float64(i)+0.5)/n
		sum += d * d
	}
	return sum
}
