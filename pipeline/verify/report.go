package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/schemas"
)

// ErrDifferent says that log and tables, or requests and answers, differ.
var ErrDifferent = errors.New("verify: the log and what is stored differ")

// Kinds of lines.
const (
	KindResults      = "results"      // requests and their answers: results and dead letters
	KindObservations = "observations" // the observations log and the rows of the models' tables
	KindMinutes      = "minutes"      // rows and the minute statistics
	KindFeedback     = "feedback"     // the feedback log and its rows
	KindDeadLetters  = "dead_letters" // the dead-letter log, and refused records of other logs, and their rows
	KindEvents       = "events"       // the events log and its rows
)

// Faults of a row, an answer or a minute.
const (
	Missing = "missing" // the log has it, and is committed as stored
	Doubled = "doubled" // it is there more often than in the log
	Alien   = "alien"   // it is there, and the log, which still holds that range, does not have it
)

// Difference is one thing that is not as it must be.
type Difference struct {
	Kind    string `json:"kind"`
	Table   string `json:"table"`
	Fault   string `json:"fault"`
	Version string `json:"version,omitempty"`
	schemas.Coordinates
	Minute time.Time `json:"minute,omitzero"` // of KindMinutes, which has no coordinates
	Copies int       `json:"copies"`          // there are
	Want   int       `json:"want"`            // there must be
}

func (d Difference) String() string {
	if d.Kind == KindMinutes {
		return fmt.Sprintf("%s (%d for %d)", d.Minute.UTC().Format(time.RFC3339), d.Copies, d.Want)
	}
	text := fmt.Sprintf("%s %d/%d", d.Fault, d.Partition, d.Offset)
	if d.Row > 0 {
		text += fmt.Sprintf("/%d", d.Row)
	}
	return text
}

// Line is what was found of one partition, whose coordinates the rows bear, in one table.
type Line struct {
	Kind      string `json:"kind"`
	Table     string `json:"table"` // or, of KindResults, the topic
	Topic     string `json:"topic"` // its id where no topic has it any more
	Partition int32  `json:"partition"`
	Expected  int64  `json:"expected"` // of KindMinutes, as Found: rows of the minutes that differ
	Found     int64  `json:"found"`
	Missing   int64  `json:"missing"`
	Doubled   int64  `json:"doubled"`
	Alien     int64  `json:"alien"`
	// NotStored is what lies behind the offset that the group has committed: it is not stored,
	// or not answered, yet.
	NotStored int64 `json:"not_stored_yet"`
	// OutOfScope is what time to live may have removed from the tables.
	OutOfScope int64    `json:"out_of_scope"`
	First      []string `json:"first,omitempty"` // a few coordinates, partition/offset or partition/offset/row
}

func (l *Line) differs() bool { return l.Missing+l.Doubled+l.Alien > 0 }

// Repair says what a repair did.
type Repair struct {
	Stored  int64 `json:"stored"`  // missing rows that are stored again
	Removed int64 `json:"removed"` // doubled rows; one of each is left
	Minutes int64 `json:"minutes"` // derived anew from the rows
	Rounds  int   `json:"rounds"`
}

// Report is what a verification found, after the repair where there was one.
type Report struct {
	At       time.Time `json:"at"`
	From     time.Time `json:"from,omitzero"`
	To       time.Time `json:"to,omitzero"`
	Equal    bool      `json:"equal"`
	Lines    []Line    `json:"lines"`
	Repaired *Repair   `json:"repaired,omitempty"`
	Before   []Line    `json:"before_repair,omitempty"` // the lines that differed
	Notes    []string  `json:"notes,omitempty"`
	Seconds  float64   `json:"seconds"`
}

// Sum returns the sums of all lines.
func (r *Report) Sum() Line {
	var sum Line
	for i := range r.Lines {
		sum.Expected += r.Lines[i].Expected
		sum.Found += r.Lines[i].Found
		sum.Missing += r.Lines[i].Missing
		sum.Doubled += r.Lines[i].Doubled
		sum.Alien += r.Lines[i].Alien
		sum.NotStored += r.Lines[i].NotStored
		sum.OutOfScope += r.Lines[i].OutOfScope
	}
	return sum
}

// Incomplete tells whether rows are missing, or minutes do not tell of their rows.
func (r *Report) Incomplete() bool {
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.Kind != KindResults && l.Missing > 0 || l.Kind == KindMinutes && l.differs() {
			return true
		}
	}
	return false
}

// First returns a few coordinates of what differs, with the tables.
func (r *Report) First() []string {
	var first []string
	for i := range r.Lines {
		if l := &r.Lines[i]; l.differs() && len(first) < firstOf {
			first = append(first, l.Table+" "+strings.Join(l.First, ", "))
		}
	}
	return first
}

// WriteJSON writes the report.
func (r *Report) WriteJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people: a line for each kind and table, and one for each
// partition that differs.
func (r *Report) WriteTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Before) > 0 {
		fmt.Fprintf(w, "before the repair\n")
		writeLines(w, r.Before)
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	writeLines(w, fold(r.Lines))
	if err := w.Flush(); err != nil {
		return err
	}
	if p := r.Repaired; p != nil {
		fmt.Fprintf(out, "repaired: %d rows stored again, %d doubled rows removed, %d minutes derived anew; verified again\n", p.Stored, p.Removed, p.Minutes)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, n)
	}
	verdict := "equal"
	if !r.Equal {
		verdict = "different"
	}
	_, err := fmt.Fprintf(out, "%s; %.1f s\n", verdict, r.Seconds)
	return err
}

func writeLines(w io.Writer, lines []Line) {
	fmt.Fprintln(w, "KIND\tTABLE\tTOPIC\tPARTITION\tEXPECTED\tFOUND\tMISSING\tDOUBLED\tALIEN\tNOT YET\tFIRST")
	for _, l := range lines {
		partition := strconv.Itoa(int(l.Partition))
		if l.Partition < 0 {
			partition = "all"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", l.Kind, l.Table, l.Topic, partition,
			l.Expected, l.Found, l.Missing, l.Doubled, l.Alien, l.NotStored, strings.Join(l.First, ", "))
	}
}

// fold makes one line of the partitions of a topic that do not differ; partition -1 stands
// for them.
func fold(lines []Line) []Line {
	var out []Line
	at := map[[3]string]int{}
	for _, l := range lines {
		key := [3]string{l.Kind, l.Table, l.Topic}
		if l.differs() {
			out = append(out, l)
			continue
		}
		i, ok := at[key]
		if !ok {
			l.Partition = -1
			at[key] = len(out)
			out = append(out, l)
			continue
		}
		out[i].Expected += l.Expected
		out[i].Found += l.Found
		out[i].NotStored += l.NotStored
		out[i].OutOfScope += l.OutOfScope
	}
	return out
}
