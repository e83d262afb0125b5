package operate

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/drift/reference"
	"github.com/millrace/millrace/schemas"
)

// monitoringLines write a plan as the section of a manifest. What the data do not decide is as was has
// it, where there was a section.
func monitoringLines(p *reference.Plan, was *schemas.Monitoring) []string {
	m := p.Monitoring
	delay := duration(m.LabelDelay) + " # CHECK: when most labels are there"
	var idle []string
	if was != nil {
		delay = duration(was.LabelDelay)
		m.Retraining = was.Retraining // which is told
		if was.IdleTimeout != m.IdleTimeout {
			idle = []string{"  idle_timeout: " + duration(was.IdleTimeout)}
		}
	}
	lines := append([]string{
		"monitoring:",
		"  window: " + duration(m.Window),
		"  lateness: " + duration(m.Lateness),
		"  label_delay: " + delay,
	}, idle...)
	lines = append(lines,
		fmt.Sprintf("  min_rows: %d", m.MinRows),
		"  rate: "+schemas.YAMLNumber(m.Rate)+" # of windows without drift that may breach a check by chance")
	if was != nil {
		lines = append(lines, was.Undecided()...)
	} else {
		lines = append(lines, "  retraining: {cooldown: "+duration(m.Retraining.Cooldown)+"} # of a drift that lasts, one event so often asks for retraining")
	}
	lines = append(lines, fmt.Sprintf("  checks: # of %d blocks of the data, %d breach any", p.Blocks, p.Breached))
	for _, c := range p.Checks {
		text := "    - {stattest: " + string(c.Check.Stattest)
		if c.Check.Column != "" {
			text += ", column: " + schemas.YAMLText(c.Check.Column)
		}
		text += ", threshold: " + schemas.YAMLNumber(c.Check.Threshold) + ", severity: " + string(c.Check.Severity)
		if c.Check.Retrain {
			text += ", retrain: true"
		}
		lines = append(lines, text+"} # "+c.Why)
	}
	return lines
}

var targetKinds = map[schemas.TargetKind]string{
	schemas.TargetBinary:     "labels are positive or not",
	schemas.TargetMulticlass: "labels are classes, as the output is",
	schemas.TargetRegression: "labels are numbers, as the output is",
}

// duration writes a duration in the largest unit that holds it.
func duration(d schemas.Duration) string {
	v := d.Std()
	switch {
	case v > 24*time.Hour && v%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", v/(24*time.Hour))
	case v >= time.Hour && v%time.Hour == 0:
		return fmt.Sprintf("%dh", v/time.Hour)
	case v >= time.Minute && v%time.Minute == 0:
		return fmt.Sprintf("%dm", v/time.Minute)
	default:
		return v.String()
	}
}

// table returns the lines that say what was decided.
func (l *learner) table(made *madeReference) []string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FEATURE\tTYPE\tVALUES\tMISSING")
	for i, f := range l.m.Features {
		missing := ""
		if l.what[i].missing > 0 {
			missing = fmt.Sprintf("%.3g %%", 100*float64(l.what[i].missing)/float64(l.t.rows))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Name, f.Type, values(&f, &l.what[i]), missing)
	}
	if t := l.m.Target; t != nil && l.o.Label != "" {
		fmt.Fprintln(w, "\nTARGET\tVALUE\tWHAT IT IS")
		fmt.Fprintf(w, "kind\t%s\t%s\n", t.Kind, targetKinds[t.Kind])
		fmt.Fprintf(w, "score\t%s\tthe output that labels are compared with\n", t.Score)
		if t.Kind == schemas.TargetBinary {
			positive := "above " + schemas.YAMLNumber(t.PositiveAbove)
			if t.Positive != "" {
				positive = t.Positive
			}
			fmt.Fprintf(w, "positive\t%s\tlabels that are, and scores from %v on\n", positive, t.Threshold)
		}
	}
	m := made.plan.Monitoring
	fmt.Fprintln(w, "\nMONITORING\tVALUE\tWHY")
	why := fmt.Sprintf("%d whole windows in the data, of %d rows each (median)", made.windows.Blocks, made.windows.Rows)
	late := "no order of time in the data: a guess"
	if made.windows.Ordered {
		late = "rows of the data come that late, at most"
	}
	if !made.windows.Timed {
		why, late = fmt.Sprintf("a guess, without --time; thresholds are of %d blocks of %d rows in the data's order", made.windows.Blocks, made.windows.Rows), "a guess, without --time"
	}
	fmt.Fprintf(w, "window\t%s\t%s\n", duration(m.Window), why)
	fmt.Fprintf(w, "lateness\t%s\t%s\n", duration(m.Lateness), late)
	if made.was != nil {
		fmt.Fprintf(w, "label_delay\t%s\tas it was\n", duration(made.was.LabelDelay))
		m.Retraining = made.was.Retraining
	} else {
		fmt.Fprintf(w, "label_delay\t%s\tone window: the data do not say when labels come\n", duration(m.LabelDelay))
	}
	fmt.Fprintf(w, "min_rows\t%d\thalf the rows of the smallest block\n", m.MinRows)
	fmt.Fprintf(w, "rate\t%v\tof windows without drift that may breach a check by chance\n", m.Rate)
	if m.Retraining.Cooldown > 0 {
		fmt.Fprintf(w, "cooldown\t%s\tof a drift that lasts, one event so often asks for retraining\n", duration(m.Retraining.Cooldown))
	}
	fmt.Fprintln(w, "\nCHECK\tTHRESHOLD\tWORST BLOCK\tALL ROWS\tBECAUSE OF")
	for _, c := range made.plan.Checks {
		name := string(c.Check.Stattest)
		if c.Check.Column != "" {
			name += " " + c.Check.Column
		}
		if c.Check.Retrain {
			name += " (retrain)"
		}
		fmt.Fprintf(w, "%s\t%.3g\t%s\t%s\t%s\n", name, c.Check.Threshold, figure(c.Worst), figure(c.Overall), c.Why)
	}
	_ = w.Flush() // of a buffer
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	judged := strconv.Itoa(made.plan.Blocks)
	if made.plan.Blocks < made.windows.Blocks {
		judged = fmt.Sprintf("%d that were judged of %d", made.plan.Blocks, made.windows.Blocks)
	}
	return append(lines, fmt.Sprintf("of %s blocks of the data, %d breach a check", judged, made.plan.Breached))
}

func figure(x float64) string {
	if math.IsNaN(x) {
		return ""
	}
	return fmt.Sprintf("%.3g", x)
}

// values describes what a feature holds.
func values(f *schemas.Feature, s *summary) string {
	switch {
	case f.Type == schemas.TypeCategory:
		return fmt.Sprintf("%d categories", len(f.Categories))
	case f.Min != nil && f.Max != nil:
		return fmt.Sprintf("%v to %v", *f.Min, *f.Max)
	case len(s.words) > 0:
		return fmt.Sprintf("%d words", len(s.words))
	case math.IsNaN(s.low):
		return "none"
	default:
		return fmt.Sprintf("%v to %v", s.low, s.high)
	}
}
