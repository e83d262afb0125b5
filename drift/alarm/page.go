package alarm

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/drift/internal/page"
)

//go:embed card.html
var cardHTML string

var cardTemplate = template.Must(template.New("card").Funcs(template.FuncMap{
	"style":  func() template.CSS { return template.CSS(page.Style) }, //nolint:gosec // the project's own
	"policy": func() template.HTML { return page.Policy },
}).Parse(cardHTML))

// Titled is a card with what it is of.
type Titled struct {
	Model   string    `json:"model"`
	Version string    `json:"version"`
	From    time.Time `json:"calibrated_from"` // event time of the windows that it was made of
	To      time.Time `json:"calibrated_to"`
	Asked   string    `json:"asked"` // monitoring.false_alarms.every
	*Card
}

// Rows of the tables of a card, as text.
func (c *Titled) rows() (alarms, delays [][]string) {
	between := func(name string, f FalseAlarms) []string {
		if f.Alarms == 0 {
			return []string{name, "none in " + c.span(float64(f.Windows)), "", strconv.Itoa(f.Windows), "0"}
		}
		return []string{name, c.span(f.Between), "± " + c.span(f.StandardError), strconv.Itoa(f.Windows), strconv.Itoa(f.Alarms)}
	}
	alarms = append(alarms, between("the whole", c.Whole))
	for _, x := range c.Checks {
		alarms = append(alarms, between(string(x.Stattest)+" "+x.Column, x.FalseAlarms))
	}
	k := float64(0)
	for _, d := range c.Delays {
		k = d.Always
		delays = append(delays, []string{d.what(), strconv.Itoa(d.Columns), fmt.Sprintf("%.0f %%", 100*d.Detected), late(d.Median), late(d.P90), fmt.Sprint(d.Always), "never"})
	}
	if k > 0 {
		alarms = append(alarms, []string{"dummy: always above", "as soon as it closed", "", "", ""}, []string{"dummy: never above", "never", "", "", ""})
	}
	return alarms, delays
}

func (d Delay) what() string {
	switch d.Kind {
	case DelayShift:
		return fmt.Sprintf("values grow by %g standard deviations", d.Size)
	case DelayMissing:
		return fmt.Sprintf("%g %% of values are missing", 100*d.Size)
	case DelayCategory:
		return fmt.Sprintf("a category has %g times as many rows", d.Size)
	}
	return string(d.Kind)
}

func late(x *float64) string {
	if x == nil {
		return fmt.Sprintf("> %d", MostDelay)
	}
	return fmt.Sprint(*x)
}

// span is a number of windows as a time.
func (c *Titled) span(windows float64) string {
	hours := windows * c.Window.Hours()
	switch {
	case hours >= 48:
		return fmt.Sprintf("%.1f d", hours/24)
	case hours >= 2:
		return fmt.Sprintf("%.1f h", hours)
	}
	return time.Duration(hours * float64(time.Hour)).Round(time.Second).String()
}

var alarmHead = []string{"false alarms of", "time between them", "standard error", "windows simulated", "alarms"}

var delayHead = []string{"change of one column", "columns", "found", "median delay", "delay of 9 in 10", "dummy: always", "dummy: never"}

func (c *Titled) promise() string {
	return fmt.Sprintf("Windows of %s, threshold %.3g. Asked for: a false alarm every %s; promised: every %s.", c.Window, c.Threshold, c.Asked, c.span(float64(c.Promised)/float64(c.Window)))
}

// WriteText writes the card as tables. Delays are in windows.
func (c *Titled) WriteText(out io.Writer) error {
	alarms, delays := c.rows()
	fmt.Fprintf(out, "%s/%s: alarms of drift, simulated on windows from %s to %s\n%s\n", c.Model, c.Version, c.From.Format(time.RFC3339), c.To.Format(time.RFC3339), c.promise())
	for _, w := range c.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, of := range [][][]string{append([][]string{{""}, alarmHead}, alarms...), append([][]string{{""}, delayHead}, delays...)} {
		for _, row := range of {
			fmt.Fprintln(table, strings.Join(row, "\t"))
		}
	}
	return table.Flush()
}

// WriteHTML writes the card as a page that fetches nothing.
func (c *Titled) WriteHTML(out io.Writer) error {
	alarms, delays := c.rows()
	return cardTemplate.Execute(out, map[string]any{
		"Card": c, "Promise": c.promise(), "From": c.From.Format(time.RFC3339), "To": c.To.Format(time.RFC3339),
		"AlarmHead": alarmHead, "Alarms": alarms, "DelayHead": delayHead, "Delays": delays, "Most": MostDelay,
	})
}
