package compare

import (
	"fmt"
	"math"
	"strings"
)

// explain says in one sentence what moved, where it drifted, and by what figure that is
// judged.
func explain(c *Column, v *judged) string {
	if v.claim.why != "" {
		return "Not judged: " + v.claim.why + "."
	}
	if v.claim.given {
		return explainThreshold(c, v)
	}
	figure := figureOf(c)
	chance := "p-value " + formatP(c.PValue)
	if c.RawPValue != nil {
		chance = "corrected p-value " + formatP(c.PValue)
	}
	if c.Expected != nil {
		chance += ", expected by chance " + formatNumber(*c.Expected)
	}
	if c.Calibrated {
		chance += ", by chunks of the reference"
	}
	effect := math.Abs(v.claim.effect)
	text := fmt.Sprintf("%s is more than chance (%s), and its effect of %s is one that matters", figure, chance, formatNumber(effect))
	if c.Drifted {
		return sentence(v.moved, text)
	}
	text = fmt.Sprintf("No drift: %s is within chance (%s)", figure, chance)
	if v.claim.passed {
		text = fmt.Sprintf("No drift that matters: %s is more than chance (%s), but its effect is only %s", figure, chance, formatNumber(effect))
	}
	if c.SmallestEffect != nil {
		text += "; an effect of " + formatNumber(*c.SmallestEffect) + " would have been found"
	}
	if len(v.moved) > 1 { // what the test does not see
		text += "; " + strings.Join(v.moved[1:], ", and ")
	}
	return text + "."
}

// figureOf names the figure that a column is judged by.
func figureOf(c *Column) string {
	switch score := formatOptional(c.Score); c.Stattest {
	case "wasserstein":
		return "the Wasserstein distance of " + score + " standard deviations"
	case "jensenshannon":
		return "the Jensen–Shannon distance of " + score
	default:
		return "the " + c.Stattest + " of " + score
	}
}

// sentence puts what moved before what it is judged by.
func sentence(moved []string, figure string) string {
	text := strings.Join(moved, ", and ")
	return strings.ToUpper(text[:1]) + text[1:] + ": " + figure + "."
}

// explainThreshold explains a verdict by a threshold that stands for itself.
func explainThreshold(c *Column, v *judged) string {
	figure := figureOf(c)
	switch {
	case v.test.PValue:
		what, relation := "p-value", "is at or above"
		if c.RawPValue != nil {
			what = "corrected p-value"
		}
		if c.Drifted {
			relation = "is below"
		}
		figure = fmt.Sprintf("the %s of %s, %s, %s", what, c.Stattest, formatP(c.PValue), relation)
	case c.Drifted:
		figure += " reaches"
	default:
		figure += " stays below"
	}
	figure += " the threshold of " + formatNumber(c.Threshold)
	if c.Calibrated {
		figure += ", made of chunks of the reference"
	}
	if c.Drifted {
		return sentence(v.moved, figure)
	}
	text := "No drift: " + figure
	if len(v.moved) > 1 { // what the test does not see
		text += "; " + strings.Join(v.moved[1:], ", and ")
	}
	return text + "."
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
	if c.missingMoved() {
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
	number := q.Reference.format
	from, to := number(r[median]), number(k[median])
	between := func(a, b float64) string { return number(a) + " … " + number(b) }
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
