package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/millrace/millrace/drift/stattest"
)

// other are the tools that judge the data beside drift compare.
type other struct {
	python, script string // an interpreter that has them, and reference/rates_beside.py
	folder         string // of the files of one measurement, removed before and after it
}

// besideCell is a cell in the files that the script reads.
type besideCell struct {
	Reference   string     `json:"reference"` // file names
	Current     string     `json:"current"`
	Columns     [][]string `json:"columns"` // by run
	Rows        [2]int     `json:"rows"`
	Categorical bool       `json:"categorical"`
}

// besideVerdicts are the script's of a cell, by run and column: Evidently's, 0 or 1, and the
// share of NannyML's chunks that alert.
type besideVerdicts struct {
	Evidently [][]float64 `json:"evidently"`
	NannyML   [][]float64 `json:"nannyml"`
}

// Names of the other tools' methods.
const (
	byEvidently = "Evidently"
	byNannyML   = "NannyML"
)

// besideCells are the cells that the other tools judge, too: they take a tenth of a second a
// column.
func besideCells(e extent) []cell {
	names, sizes, runs := []string{"normal", "zero-inflated", "ties", "10 categories", "40 categories", "1000 categories"},
		pairs{{100, 100}, {1001, 30}, {1001, 100}, {1001, 1001}, {10_000, 10_000}}, 40
	if e != full {
		names, sizes, runs = []string{"normal", "40 categories"}, sizes[1:3], 20
	}
	out := cross(e, some(names...), sizes)
	for _, c := range manyColumns(e) {
		if c.kind.name == "normal" && c.columns == 20 && c.current == 100 && c.reference == 1001 {
			out = append(out, c)
		}
	}
	for i := range out {
		out[i].runs = min(out[i].runs, runs)
	}
	return out
}

// measure lets the tools judge the same runs of the cells that measure compares.
func (o other) measure(ctx context.Context, seed uint64, cells []cell) (found []measured, err error) {
	if err := os.RemoveAll(o.folder); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.folder, 0o750); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.folder)) }()
	list := make([]besideCell, len(cells))
	for i, c := range cells {
		if list[i], err = o.write(seed, i, c); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(o.folder, "cells.json"), text, 0o600); err != nil {
		return nil, err
	}
	script := exec.CommandContext(ctx, o.python, o.script, o.folder) //nolint:gosec // both are arguments of the program
	script.Stderr = os.Stderr
	lines, err := script.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := script.Start(); err != nil {
		return nil, err
	}
	in := bufio.NewScanner(lines)
	in.Buffer(nil, 64<<20)
	for in.Scan() && len(found) < 2*len(cells) {
		var v besideVerdicts
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return nil, errors.Join(fmt.Errorf("a line of %s: %w", o.script, err), script.Cancel())
		}
		c := cells[len(found)/2]
		columns := outcomeOf(v.NannyML)
		columns.dataset = share{} // of which NannyML says nothing
		found = append(found,
			measured{cell: c, method: method{name: byEvidently, beside: true}, outcome: outcomeOf(v.Evidently)},
			measured{cell: c, method: method{name: byNannyML, beside: true}, outcome: columns})
	}
	if err := errors.Join(in.Err(), script.Wait()); err != nil {
		return nil, fmt.Errorf("%s: %w", o.script, err)
	}
	if len(found) < 2*len(cells) {
		return nil, fmt.Errorf("%s judged %d of %d cells", o.script, len(found)/2, len(cells))
	}
	return found, nil
}

// write writes the runs of a cell as two files, all columns of all runs beside one another.
func (o other) write(seed uint64, at int, c cell) (besideCell, error) {
	b := besideCell{
		Reference: fmt.Sprintf("%d_reference.arrow", at), Current: fmt.Sprintf("%d_current.arrow", at),
		Rows: [2]int{c.reference, c.current}, Categorical: c.kind.cumulative != nil,
	}
	var fields [2][]arrow.Field
	var arrays [2][]arrow.Array
	for run := range c.runs {
		var names []string
		reference, current := c.tables(seed, run)
		for side, t := range []*table{reference, current} {
			names = names[:0]
			for k, f := range t.Schema().Fields() {
				f.Name = fmt.Sprintf("r%d_%s", run, f.Name)
				names = append(names, f.Name)
				fields[side], arrays[side] = append(fields[side], f), append(arrays[side], t.record.Column(k))
			}
		}
		b.Columns = append(b.Columns, names)
	}
	return b, errors.Join(
		writeArrow(filepath.Join(o.folder, b.Reference), fields[0], arrays[0], c.reference),
		writeArrow(filepath.Join(o.folder, b.Current), fields[1], arrays[1], c.current))
}

func writeArrow(path string, fields []arrow.Field, arrays []arrow.Array, rows int) error {
	f, err := os.Create(path) //nolint:gosec // below the folder that is an argument of the program
	if err != nil {
		return err
	}
	schema := arrow.NewSchema(fields, nil)
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(schema))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(w.Write(array.NewRecord(schema, arrays, int64(rows))), w.Close(), f.Close())
}

// outcomeOf sums up verdicts by run and column. The data set drifts from half of its columns.
func outcomeOf(runs [][]float64) (o outcome) {
	for _, columns := range runs {
		sum := 0.0
		for _, v := range columns {
			sum += v
		}
		o.columns.seen, o.columns.of = o.columns.seen+sum, o.columns.of+len(columns)
		o.judged.seen, o.judged.of = o.judged.seen+float64(len(columns)), o.judged.of+len(columns)
		o.any.seen, o.any.of = o.any.seen+slices.Max(columns), o.any.of+1
		o.dataset.of++
		if sum >= stattest.DefaultDriftShare*float64(len(columns)) {
			o.dataset.seen++
		}
	}
	return o
}
