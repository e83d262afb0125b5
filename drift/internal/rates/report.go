package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// report is what was measured, by part.
type report struct {
	parts  map[string][]measured
	beside []measured // by the other tools
}

// summary is the line at the end. Shares are the greatest measured in any cell of unchanged
// data, of comparisons in which a column or the data set was called drifted.
type summary struct {
	Rate            float64            `json:"rate"` // that the default states
	WorstFalseAlarm map[string]float64 `json:"worst_false_alarm"`
	Cells           int                `json:"cells"`
	EvidentlyWorst  *float64           `json:"evidently_worst"` // null where it was not run
	NannyMLWorst    *float64           `json:"nannyml_worst"`
}

// all is what was measured, in the order of the tables; without the other tools.
func (r report) all() []measured {
	var out []measured
	for _, p := range []string{partDefault, partColumns, partTests, partCalibrations, partMonitor, partPower} {
		out = append(out, r.parts[p]...)
	}
	return out
}

func (r report) failures() []measured {
	return slices.DeleteFunc(r.all(), func(m measured) bool { return !m.failed() })
}

func (r report) summary() summary {
	s := summary{Rate: stated, WorstFalseAlarm: map[string]float64{}}
	for _, m := range r.all() {
		s.Cells++
		if m.cell.shift == (shift{}) {
			s.WorstFalseAlarm[m.method.name] = max(s.WorstFalseAlarm[m.method.name], m.outcome.alarm().value())
		}
	}
	for _, m := range r.beside {
		worst := &s.EvidentlyWorst
		if m.method.name == byNannyML {
			worst = &s.NannyMLWorst
		}
		v := m.outcome.alarm().value()
		if *worst != nil {
			v = max(v, **worst)
		}
		*worst = &v
	}
	return s
}

// write writes the tables in Markdown, the cells that fail, and the summary as the last line.
func (r report) write(out io.Writer) error {
	r.writeOneColumn(out)
	r.writeColumns(out)
	fmt.Fprintf(out, "\nEvery test and each calibration by its p-value alone, whatever the effect: of cells of one unchanged column, the worst, and how many are over. `empirical_mmd` of at most 300 rows.\n\n")
	fmt.Fprint(out, "| test or calibration | states % | cells | judged % | worst % | there | over |\n|---|---|---|---|---|---|---|\n")
	writeWorst(out, r.parts[partTests])
	writeWorst(out, r.parts[partCalibrations])
	r.writeMonitor(out)
	r.writePower(out)
	failures := r.failures()
	fmt.Fprintf(out, "\nCells over the stated rate by more than three standard errors: %d of %d.\n", len(failures), len(r.all()))
	for _, m := range failures {
		fmt.Fprintf(out, "- %s, %s: %s %% of %d, stated %s %%\n", m.method.name, m.cell, percent(m.outcome.alarm().value()), m.outcome.alarm().of, percent(m.method.rate))
	}
	line, err := json.Marshal(r.summary())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", line)
	return err
}

func percent(x float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*x), ".0")
}

// alarmed writes the share of a cell, in bold where it fails.
func (m measured) alarmed() string {
	s := percent(m.outcome.alarm().value())
	if m.failed() {
		return "**" + s + "**"
	}
	return s
}

// find returns what a method said of a cell.
func find(all []measured, name string, same func(cell) bool) (measured, bool) {
	i := slices.IndexFunc(all, func(m measured) bool { return m.method.name == name && same(m.cell) })
	if i < 0 {
		return measured{}, false
	}
	return all[i], true
}

// distinct returns what f says of the cells, each once, in their order.
func distinct(all []measured, f func(measured) string) []string {
	var out []string
	for _, m := range all {
		if s := f(m); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func writeHead(out io.Writer, columns ...string) {
	fmt.Fprintf(out, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
}

// writeOneColumn writes one table by kind and rows.
func (r report) writeOneColumn(out io.Writer) {
	part := r.parts[partDefault]
	tools := append(distinct(part, func(m measured) string { return m.method.name }), byEvidently, byNannyML)
	fmt.Fprintf(out, "\nOne column, unchanged: %% of comparisons called drifted, by rows of the reference / of the current side. Each entry: %s.\n\n", strings.Join(tools, " · "))
	all := slices.Concat(part, r.beside)
	sizes := distinct(part, func(m measured) string { return m.cell.sizes() })
	writeHead(out, append([]string{"column"}, sizes...)...)
	for _, kind := range distinct(part, func(m measured) string { return m.cell.kind.name }) {
		row := []string{kind}
		for _, size := range sizes {
			var entry []string
			for _, tool := range tools {
				m, ok := find(all, tool, func(c cell) bool { return c.columns == 1 && c.kind.name == kind && c.sizes() == size })
				if ok {
					entry = append(entry, m.alarmed())
				} else {
					entry = append(entry, "–")
				}
			}
			row = append(row, strings.TrimSuffix(strings.TrimSuffix(strings.Join(entry, " · "), " · – · –"), "– · –"))
		}
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
}

// writeColumns writes one table of tables with many columns.
func (r report) writeColumns(out io.Writer) {
	fmt.Fprint(out, "\nMany columns, unchanged: % of comparisons in which any column, and in which the data set, is called drifted, and % of the columns that are.\n\n")
	writeHead(out, "columns", "rows", "by", "any column", "data set", "columns drifted")
	part := r.parts[partColumns]
	for i, m := range part {
		writeColumnsRow(out, m)
		if i+1 < len(part) && part[i+1].cell.String() == m.cell.String() {
			continue
		}
		for _, tool := range []string{byEvidently, byNannyML} {
			if o, ok := find(r.beside, tool, func(c cell) bool { return c.String() == m.cell.String() }); ok {
				writeColumnsRow(out, o)
			}
		}
	}
}

func writeColumnsRow(out io.Writer, m measured) {
	dataset := "–"
	if m.outcome.dataset.of > 0 {
		dataset = percent(m.outcome.dataset.value())
	}
	failed := ""
	if m.failed() {
		failed = "**"
	}
	fmt.Fprintf(out, "| %s, %s | %s | %s | %s%s%s | %s | %s |\n", m.cell.columnsText(), m.cell.kind.name, m.cell.sizes(), m.method.name,
		failed, percent(m.outcome.any.value()), failed, dataset, percent(m.outcome.columns.value()))
}

// writeWorst writes one row for each method: its worst cell.
func writeWorst(out io.Writer, part []measured) {
	for _, name := range distinct(part, func(m measured) string { return m.method.name }) {
		var worst measured
		var judged share
		cells, over := 0, 0
		for _, m := range part {
			if m.method.name != name {
				continue
			}
			cells++
			judged.seen, judged.of = judged.seen+m.outcome.judged.seen, judged.of+m.outcome.judged.of
			if m.failed() {
				over++
			}
			if cells == 1 || m.outcome.alarm().value() > worst.outcome.alarm().value() {
				worst = m
			}
		}
		fmt.Fprintf(out, "| `%s` | %s | %d | %s | %s | %s | %d |\n", name, percent(worst.method.rate), cells, percent(judged.value()), worst.alarmed(), worst.cell, over)
	}
}

// writeMonitor writes one table of windows.
func (r report) writeMonitor(out io.Writer) {
	part := r.parts[partMonitor]
	fmt.Fprintf(out, "\nWindows of the monitor, unchanged, each column checked by psi at %g: %% of windows in which any column breaches, by the monitor's rule / by the score alone; in brackets the %% of columns that are judged, where not all.\n\n", customary)
	sizes := distinct(part, func(m measured) string { return fmt.Sprintf("%d rows", m.cell.current) })
	writeHead(out, append([]string{"columns"}, sizes...)...)
	what := func(m measured) string { return m.cell.columnsText() + ", " + m.cell.kind.name }
	for _, row := range distinct(part, what) {
		entries := make([]string, len(sizes))
		for i, size := range sizes {
			for _, m := range part {
				if what(m) != row || fmt.Sprintf("%d rows", m.cell.current) != size {
					continue
				}
				if m.method.beside {
					entries[i] += " / "
				}
				entries[i] += m.alarmed()
				if j := m.outcome.judged.value(); j < 1 {
					entries[i] += " (" + percent(j) + ")"
				}
			}
		}
		fmt.Fprintf(out, "| %s | %s |\n", row, strings.Join(entries, " | "))
	}
}

// writePower writes one table by shift and rows.
func (r report) writePower(out io.Writer) {
	part := r.parts[partPower]
	fmt.Fprint(out, "\nShifts: % of comparisons in which the column is called drifted, by the default / by `ks` of numbers, `chisquare` of categories, at 0.05; in brackets the % that the default judged, where not all.\n\n")
	sizes := distinct(part, func(m measured) string { return m.cell.sizes() })
	writeHead(out, append([]string{"column", "shift"}, sizes...)...)
	what := func(m measured) string { return m.cell.kind.name + " | " + m.cell.shift.String() }
	for _, row := range distinct(part, what) {
		entries := make([]string, len(sizes))
		for i, size := range sizes {
			for _, m := range part {
				if what(m) != row || m.cell.sizes() != size {
					continue
				}
				if m.method.beside {
					entries[i] += " / "
				}
				entries[i] += percent(m.outcome.any.value())
				if j := m.outcome.judged.value(); j < 1 {
					entries[i] += " (" + percent(j) + ")"
				}
			}
		}
		fmt.Fprintf(out, "| %s | %s |\n", row, strings.Join(entries, " | "))
	}
}
