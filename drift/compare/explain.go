package compare

import (
	"fmt"
	"math"
	"strings"

	"github.com/millrace/millrace/drift/stattest"
)

// explain says in one sentence what moved, where it drifted, and by what figure that is
// judged.
func explain(c *Column, test *stattest.Test, moved []string) string {
	var figure string
	switch score := formatOptional(c.Score); {
	case test.PValue:
		what, relation := "p-value", "is at or above"
		if c.RawPValue != nil {
			what = "corrected p-value"
		}
		if c.Drifted {
			relation = "is below"
		}
		figure = fmt.Sprintf("the %s of %s, %s, %s", what, c.Stattest, formatP(c.PValue), relation)
	case c.Stattest == "wasserstein":
		figure = "the Wasserstein distance of " + score + " standard deviations"
	case c.Stattest == "jensenshannon":
		figure = "the Jensen–Shannon distance of " + score
	default:
		figure = "the " + c.Stattest + " of " + score
	}
	if !test.PValue {
		if c.Drifted {
			figure += " reaches"
		} else {
			figure += " stays below"
		}
	}
	figure += " the threshold of " + formatNumber(c.Threshold)
	if c.Calibrated {
		figure += ", made of chunks of the reference"
	}
	if !c.Drifted {
		text := "No drift: " + figure
		if len(moved) > 1 { // what the test does not see
			text += "; " + strings.Join(moved[1:], ", and ")
		}
		return text + "."
	}
	text := strings.Join(moved, ", and ")
	return strings.ToUpper(text[:1]) + text[1:] + ": " + figure + "."
}

// moved says what changed most between the sides, and then what no test looks at.
func moved(c *Column, t contingency) []string {
	var parts []string
	if c.Type == TypeNumeric {
		parts = append(parts, movedNumbers(c.DataQuality))
	} else {
		parts = append(parts, movedCells(c, t))
	}
	before, after := share(c.MissingReference, c.NReference), share(c.MissingCurrent, c.NCurrent)
	if math.Abs(after-before) >= 0.05 {
		parts = append(parts, fmt.Sprintf("missing values went from %s to %s", formatShare(before), formatShare(after)))
	}
	if n := c.DataQuality.OutOfRange; n > 0 && part(n, c.NCurrent) >= 0.01 {
		parts = append(parts, formatShare(part(n, c.NCurrent))+" of the current values lie outside the reference's range")
	}
	return parts
}

// movedNumbers compares medians, or what moved more: the spread between the quartiles, or
// the tails.
func movedNumbers(q DataQuality) string {
	r, k := q.Reference.Quantiles, q.Current.Quantiles
	const low, quarter, median, threeQuarters, high = 1, 2, 3, 4, 5
	from, to := formatNumber(r[median]), formatNumber(k[median])
	unit := r[threeQuarters] - r[quarter]
	if !(unit > 0) {
		unit = r[high] - r[low]
	}
	shift := math.Abs(k[median] - r[median])
	spread := math.Abs((k[threeQuarters] - k[quarter]) - (r[threeQuarters] - r[quarter]))
	switch {
	case from != to && shift >= spread/2:
		word := "rose"
		if k[median] < r[median] {
			word = "fell"
		}
		return fmt.Sprintf("the median %s from %s to %s", word, from, to)
	case unit > 0 && spread >= 0.05*unit:
		word := "widened"
		if k[threeQuarters]-k[quarter] < r[threeQuarters]-r[quarter] {
			word = "narrowed"
		}
		return fmt.Sprintf("the middle half of the values %s from %s to %s", word, between(r[quarter], r[threeQuarters]), between(k[quarter], k[threeQuarters]))
	case from == to:
		return "the median is " + from + " on both sides"
	default:
		return fmt.Sprintf("the median went from %s to %s", from, to)
	}
}

func between(a, b float64) string { return formatNumber(a) + " … " + formatNumber(b) }

// movedCells names the category whose share changed most.
func movedCells(c *Column, t contingency) string {
	at, most := -1, 0.0
	for i := range t.names {
		if d := math.Abs(t.c[i]/float64(c.NCurrent) - t.r[i]/float64(c.NReference)); d > most {
			at, most = i, d
		}
	}
	if at < 0 {
		return "all shares are the same on both sides"
	}
	before, after := t.r[at]/float64(c.NReference), t.c[at]/float64(c.NCurrent)
	word := "rose"
	if after < before {
		word = "fell"
	}
	return fmt.Sprintf("the share of %q %s from %s to %s", cut(t.names[at], 40), word, formatShare(before), formatShare(after))
}
