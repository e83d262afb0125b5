package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/drift/internal/page"
	"github.com/millrace/millrace/schemas"
)

// Report is what a report says about one window. Its JSON form is written beside the HTML.
type Report struct {
	Model       string    `json:"model"`
	Version     string    `json:"version"`
	WindowStart time.Time `json:"window_start"`
	WindowEnd   time.Time `json:"window_end"`
	WindowKind  string    `json:"window_kind,omitempty"` // as in the event; absent of monitoring.window
	MadeAt      time.Time `json:"made_at"`

	Drift    *Standing `json:"drift,omitempty"`    // nil: not judged yet
	Accuracy *Standing `json:"accuracy,omitempty"` // nil: not judged yet
	// Estimate and Requirement are nil where quality is not estimated, or nothing is required.
	Estimate    *Standing `json:"estimate,omitempty"`
	Requirement *Standing `json:"requirement,omitempty"`

	Rows   uint64 `json:"rows"`
	Labels uint64 `json:"labels"`

	// Reason says why drift breached; NoReason why that is not known.
	Reason   *schemas.Reason `json:"reason,omitempty"`
	NoReason string          `json:"no_reason,omitempty"`
	// CountedFrom is what the counts of the columns were taken from: "profiles" or "rows", and Unprofiled
	// why of rows; empty where no columns were counted.
	CountedFrom string `json:"counted_from,omitempty"`
	Unprofiled  string `json:"unprofiled,omitempty"`

	Share   *Score   `json:"drift_share,omitempty"`
	Window  []Score  `json:"window_checks,omitempty"` // of the rows as a whole: row_count, duplicate_share
	Columns []Column `json:"columns"`                 // worst first
	Quality []Figure `json:"quality"`

	Estimates    []Estimated   `json:"estimates,omitempty"`
	Segments     []Segment     `json:"segments,omitempty"` // worst first; only those that differ from the whole
	Requirements []Requirement `json:"requirements,omitempty"`
	Delay        *Delay        `json:"label_delay,omitempty"`

	ReferenceRows int64  `json:"reference_rows"`
	ReferenceMade string `json:"reference_made,omitempty"`
	// OutOfFold says that figures of the reference are of out-of-fold predictions.
	OutOfFold bool   `json:"out_of_fold,omitempty"`
	SQL       string `json:"sql"` // selects the window's rows
}

// Standing is what a job of the monitor found: ok, breached, too_few, not_judged or learning.
type Standing struct {
	Verdict  string `json:"verdict"`
	Revision uint32 `json:"revision"`
}

// Score is one drift score.
type Score struct {
	Stattest   string   `json:"stattest"`
	Score      float64  `json:"score"`
	PValue     *float64 `json:"p_value,omitempty"`
	Expected   *float64 `json:"expected,omitempty"`        // the score where nothing drifted
	Effect     *float64 `json:"effect,omitempty"`          // the score without it, which is held to the threshold
	PCorrected *float64 `json:"p_corrected,omitempty"`     // over the checks of the window
	Smallest   *float64 `json:"smallest_effect,omitempty"` // that is told from chance in 80 % of such windows
	Threshold  *float64 `json:"threshold,omitempty"`       // absent: computed, not judged
	Drifted    bool     `json:"drifted"`
	Verdict    string   `json:"verdict,omitempty"` // drifted, ok or not_judged; absent where no check judges it
	Reason     string   `json:"reason,omitempty"`  // why it is not judged
	Severity   string   `json:"severity,omitempty"`
	Retrain    bool     `json:"retrain,omitempty"`
}

// scoreOf is a row of drift_results. Rows of earlier releases have no verdict, and were judged
// by the score alone.
func scoreOf(d schemas.DriftResult) Score {
	s := Score{
		Stattest: d.Stattest, Score: d.Score, PValue: d.PValue, Expected: d.Expected, Effect: d.Effect, PCorrected: d.PCorrected, Smallest: d.Smallest,
		Threshold: d.Threshold, Drifted: d.Drifted, Verdict: d.Verdict, Reason: d.Reason, Severity: d.Severity, Retrain: d.Retrain,
	}
	if s.Verdict == "" && s.Threshold != nil {
		s.Verdict = string(schemas.ScoreOK)
		if s.Drifted {
			s.Verdict = string(schemas.ScoreDrifted)
		}
	}
	return s
}

// held is what is held to the threshold: the effect, or the score where there is none.
func (s Score) held() float64 {
	if s.Effect != nil {
		return *s.Effect
	}
	return s.Score
}

// ratio is what is held to the threshold, in units of it; -1 where no check judges the score.
func (s Score) ratio() float64 {
	switch {
	case s.Threshold == nil:
		return -1
	case *s.Threshold <= 0:
		return math.Inf(1)
	default:
		return s.held() / *s.Threshold
	}
}

// Column compares one feature or output with the reference.
type Column struct {
	Column      string  `json:"column"`
	Type        string  `json:"type"` // numeric or categorical
	Scores      []Score `json:"scores"`
	Missing     uint64  `json:"missing"`
	Explanation string  `json:"explanation"`
	Bins        Bins    `json:"bins"`
	History     History `json:"history"`
}

// worst is the score that says most; one without a threshold where there is none.
func (c Column) worst() Score {
	if len(c.Scores) == 0 {
		return Score{}
	}
	return slices.MinFunc(c.Scores, worseFirst)
}

// Drifted tells whether a check of the column was breached.
func (c Column) Drifted() bool {
	return slices.ContainsFunc(c.Scores, func(s Score) bool { return s.Drifted })
}

// Bins are the counts behind the scores. Numeric bins are left-closed: n edges make n+1.
type Bins struct {
	Edges            []float64 `json:"edges,omitempty"`
	Categories       []string  `json:"categories,omitempty"`
	Reference        []int64   `json:"reference"`
	Current          []int64   `json:"current"`
	OtherReference   int64     `json:"other_reference"`
	OtherCurrent     int64     `json:"other_current"`
	MissingReference int64     `json:"missing_reference"`
	MissingCurrent   int64     `json:"missing_current"`
}

// History is a score over recent windows, this one last.
type History struct {
	Stattest  string      `json:"stattest"`
	Windows   []time.Time `json:"windows"`
	Scores    []float64   `json:"scores"`
	Threshold *float64    `json:"threshold,omitempty"`
}

// Figure is a quality figure.
type Figure struct {
	Metric    string   `json:"metric"`
	Value     *float64 `json:"value"`         // null: not defined
	Low       *float64 `json:"low,omitempty"` // of the interval of 95 %; absent: there is none
	High      *float64 `json:"high,omitempty"`
	Labels    uint64   `json:"labels"` // that it was made of
	Threshold *float64 `json:"threshold,omitempty"`
	Breached  bool     `json:"breached"`
	// Breaches says on which side of the threshold the figure breaches it: below, above, or
	// beyond, by its distance from 0.
	Breaches  schemas.Direction `json:"breaches,omitempty"`
	Reference *float64          `json:"reference,omitempty"` // of the reference's predictions: see OutOfFold
	History   History           `json:"history"`
}

// worseFirst orders scores: what drifted before what may have, each by units of the threshold.
func worseFirst(a, b Score) int {
	if a.Drifted != b.Drifted {
		if a.Drifted {
			return -1
		}
		return 1
	}
	return cmp.Compare(b.ratio(), a.ratio())
}

// sortColumns puts the worst first: what drifted, then by what is held to the threshold in
// units of it, and columns without a check last, by their first score.
func (r *Report) sortColumns() {
	slices.SortStableFunc(r.Columns, func(a, b Column) int {
		if c := worseFirst(a.worst(), b.worst()); c != 0 {
			return c
		}
		if len(a.Scores) == 0 || len(b.Scores) == 0 {
			return cmp.Compare(len(b.Scores), len(a.Scores))
		}
		return cmp.Compare(b.Scores[0].Score, a.Scores[0].Score)
	})
}

//go:embed report.html.tmpl
var reportTemplate string

//go:embed index.html.tmpl
var indexTemplate string

//go:embed style.css
var style string

var funcs = template.FuncMap{
	"policy": func() template.HTML { return page.Policy },
	"style":  func() template.CSS { return template.CSS(page.Style + style) }, //nolint:gosec // our own files
	"time":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"day":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
	"num":    num,
	"opt": func(x *float64) string {
		if x == nil {
			return "–"
		}
		return num(*x)
	},
	"ratio": func(s Score) string {
		if s.Threshold == nil || *s.Threshold <= 0 {
			return "–"
		}
		return strconv.FormatFloat(s.ratio(), 'f', 2, 64) + "×"
	},
	"interval":     interval,
	"seconds":      seconds,
	"percent":      percent,
	"distribution": func(c Column) (template.HTML, error) { return distribution(c.Bins) },
	"history":      historyPlot,
	"last": func(h History) string {
		if len(h.Windows) == 0 {
			return ""
		}
		return h.Windows[0].UTC().Format("2006-01-02 15:04")
	},
}

// num renders a number with four digits.
func num(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

var (
	reportPage = template.Must(template.New("report").Funcs(funcs).Parse(reportTemplate))
	indexPage  = template.Must(template.New("index").Funcs(funcs).Parse(indexTemplate))
)

// fileStamp names the files of a window; windows start at whole seconds.
const fileStamp = "20060102T150405Z"

// file returns the path of a window's files below the reports' folder, without extension.
func file(model, version, kind string, start time.Time) string {
	name := start.UTC().Format(fileStamp)
	if kind != "" {
		name += "_" + kind
	}
	return filepath.Join(model, version, name)
}

// Link returns where the report of a window of a kind is found: below a URL, or, where base is empty, as
// the path below the reports' folder.
func Link(base string) func(model, version, kind string, start time.Time) string {
	if base != "" {
		base = strings.TrimRight(base, "/") + "/"
	}
	return func(model, version, kind string, start time.Time) string {
		return base + filepath.ToSlash(file(model, version, kind, start)) + ".html"
	}
}

// Write writes a report as HTML and as JSON below dir and returns the two paths. Each file
// appears whole, or not at all; a report of the same window is replaced.
func Write(dir string, r Report) ([]string, error) {
	base := filepath.Join(dir, file(r.Model, r.Version, r.WindowKind, r.WindowStart))
	if err := makeFolder(dir, r.Model, r.Version); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	var out bytes.Buffer
	if err := reportPage.Execute(&out, r); err != nil {
		return nil, fmt.Errorf("render the report of %s/%s, window %s: %w", r.Model, r.Version, r.WindowStart.Format(time.RFC3339), err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the report of %s/%s, window %s: %w", r.Model, r.Version, r.WindowStart.Format(time.RFC3339), err)
	}
	// JSON first: who sees the page finds its figures.
	paths := []string{base + ".html", base + ".json"}
	if err := writeFile(paths[1], append(text, '\n')); err != nil {
		return nil, err
	}
	if err := writeFile(paths[0], out.Bytes()); err != nil {
		return nil, err
	}
	return paths, nil
}

// makeFolder makes the folder of a version below dir, and dir, for their owner alone: reports
// hold what people have sent. Folders of models are closed where an earlier release left them
// open; dir, where it is there, is the operator's.
func makeFolder(dir, model, version string) error {
	if err := os.MkdirAll(filepath.Join(dir, model, version), 0o700); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(dir, model), 0o700) //nolint:gosec // a folder needs the bit for searching
}

// writeFile replaces a file as a whole. Only its owner can read it.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// explain says in a sentence what the scores mean and where the greatest change is.
func explain(c Column) string {
	if len(c.Scores) == 0 {
		return "Not scored: the window or the reference has too few rows."
	}
	worst := c.worst()
	var text string
	switch {
	case worst.Threshold == nil:
		text = fmt.Sprintf("Not judged: no check names this column; %s is %s", worst.Stattest, num(worst.Score))
	case worst.Drifted:
		text = fmt.Sprintf("Drifted: %s is %s%s, at or above its threshold %s", worst.Stattest, num(worst.Score), worst.beyondChance(), num(*worst.Threshold))
	case worst.Verdict == string(schemas.ScoreNotJudged):
		text = fmt.Sprintf("Not judged: %s is %s%s, but there are %s", worst.Stattest, num(worst.Score), worst.beyondChance(), worst.Reason)
	default:
		text = fmt.Sprintf("Within bounds: %s is %s%s, %s", worst.Stattest, num(worst.Score), worst.beyondChance(), worst.whyOK())
	}
	name, before, after := c.Bins.greatestChange()
	if name == "" || before == after {
		return text + "."
	}
	verb := "rose"
	if after < before {
		verb = "fell"
	}
	return fmt.Sprintf("%s. The share of %s %s from %s to %s.", text, name, verb, percent(before), percent(after))
}

// beyondChance says how much of a score is more than chance makes.
func (s Score) beyondChance() string {
	if s.Effect == nil {
		return ""
	}
	return fmt.Sprintf(", %s beyond chance", num(*s.Effect))
}

// whyOK says which half of the rule a score within bounds does not meet.
func (s Score) whyOK() string {
	if s.held() < *s.Threshold || s.PCorrected == nil {
		return "below its threshold " + num(*s.Threshold)
	}
	return fmt.Sprintf("which chance alone reaches with p = %s over the checks of the window", num(*s.PCorrected))
}

func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 1, 64) + " %" }

// greatestChange returns the cell whose share moved most, and its share in reference and
// window. Numeric bins are looked at in groups of near-equal mass, so that the answer is a
// range with some weight.
func (b Bins) greatestChange() (name string, before, after float64) {
	for _, c := range b.shares(10, len(b.Categories)) {
		if math.Abs(c.current-c.reference) > math.Abs(after-before) {
			name, before, after = c.long, c.reference, c.current
		}
	}
	return name, before, after
}

func writeIndexFile(dir string, page []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the report index: %w", err)
	}
	return writeFile(filepath.Join(dir, "index.html"), page)
}
