// Command report sums up a file of simulations that the coverage tests wrote (make
// bench-coverage): a table of Markdown, a row an interval, and one line of JSON.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/millrace/millrace/drift/internal/coverage"
)

func main() {
	if err := run(os.Args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-coverage:", err)
		os.Exit(1)
	}
}

// summary is of the cells of one interval in which half of the samples or more have one.
type summary struct {
	cells, shown, within int
	least, most, sum     float64
	lowest, highest      string  // the samples of least and most
	reference            float64 // the least coverage of the reference's
	wrong                float64 // the greatest share of all samples, in any cell, with a wrong interval
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: report FILE")
	}
	path := args[1]
	f, err := os.Open(path) //nolint:gosec // the file is the argument
	if err != nil {
		return err
	}
	defer f.Close()
	var order []string
	all, known := map[string]*summary{}, []string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 7 {
			return fmt.Errorf("line %d of %s has %d fields, must have 7", n, path, len(fields))
		}
		var v [3]float64
		for i := range v {
			if v[i], err = strconv.ParseFloat(fields[2+i], 64); err != nil {
				return fmt.Errorf("line %d of %s: %w", n, path, err)
			}
		}
		shown, covered, reference := v[0], v[1], v[2]
		if fields[6] != "" {
			if reference == 0 { // there is none
				reference = math.NaN()
			}
			known = append(known, fmt.Sprintf("| %s of %s | %s | %s | %s | %s |", fields[0], fields[1], percent(shown), percent(covered), percent(reference), fields[6]))
			continue
		}
		s := all[fields[0]]
		if s == nil {
			s = &summary{least: math.Inf(1), most: math.Inf(-1), reference: math.Inf(1)}
			all[fields[0]], order = s, append(order, fields[0])
		}
		s.cells++
		if reference > 0 { // 0: there is none
			s.reference = min(s.reference, reference)
		}
		if shown > 0 {
			s.wrong = max(s.wrong, shown*(1-covered))
		}
		if shown >= 0.5 {
			s.shown++
			sample := fields[0] + " of " + fields[1]
			if covered < s.least {
				s.least, s.lowest = covered, sample
			}
			if covered > s.most {
				s.most, s.highest = covered, sample
			}
			s.sum += covered
			if covered >= coverage.Least && covered <= coverage.Most {
				s.within++
			}
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if len(order) == 0 {
		return fmt.Errorf("%s has no simulations", path)
	}
	return write(out, order, all, known)
}

func write(out io.Writer, order []string, all map[string]*summary, known []string) error {
	fmt.Fprintln(out, "| interval | cells, shown in | coverage, least | mean | most | in 93 to 97 % | wrong, of all samples | the reference's, least |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	type line struct {
		Cells     int     `json:"cells"`
		Shown     int     `json:"shown"`
		Within    int     `json:"within"`
		Least     float64 `json:"least"`
		Most      float64 `json:"most"`
		Wrong     float64 `json:"wrong"`
		Reference float64 `json:"reference_least"`
		Below     string  `json:"worst_below"` // the cell of Least
		Above     string  `json:"worst_above"` // the cell of Most
	}
	sum := line{Least: 1, Reference: 1}
	for _, name := range order {
		s := all[name]
		fmt.Fprintf(out, "| %s | %d, %d | %s | %s | %s | %d of %d | %s | %s |\n", name, s.cells, s.shown, percent(s.least), percent(s.sum/float64(s.shown)),
			percent(s.most), s.within, s.shown, percent(s.wrong), percent(s.reference))
		sum.Cells, sum.Shown, sum.Within = sum.Cells+s.cells, sum.Shown+s.shown, sum.Within+s.within
		sum.Wrong, sum.Reference = max(sum.Wrong, s.wrong), min(sum.Reference, s.reference)
		if s.shown > 0 {
			if s.least < sum.Least {
				sum.Least, sum.Below = s.least, s.lowest
			}
			if s.most > sum.Most {
				sum.Most, sum.Above = s.most, s.highest
			}
		}
	}
	if len(known) > 0 {
		fmt.Fprint(out, "\n| where it covers less | shown | coverage | the reference's | why |\n|---|---|---|---|---|\n", strings.Join(known, "\n"), "\n")
	}
	for _, share := range []*float64{&sum.Least, &sum.Most, &sum.Wrong, &sum.Reference} {
		*share = math.Round(*share*1e4) / 1e4
	}
	b, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s\n", b)
	return err
}

func percent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*share)
}
