package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/dataset"
	"github.com/millrace/millrace/drift/stattest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas/printable"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// ErrDrift is the error of a comparison that found drift, where that is to be one.
var ErrDrift = errors.New("the data set drifted")

// CompareConfig is a comparison of two tables.
type CompareConfig struct {
	Reference, Current CompareSide

	Reading // of files

	Options compare.Options

	Format      string // table, json or html; empty: by the name of Output, else table
	Output      string // file to write; empty: standard output
	FailOnDrift bool
}

// CompareSide is a file or a query.
type CompareSide struct {
	Path string
	SQL  string // a query of ClickHouse
}

// Forms of the report.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatHTML  = "html"
)

// Validate reports all that is wrong with the comparison, without reading anything.
func (c CompareConfig) Validate() error {
	var errs []error
	for _, s := range []struct {
		name string
		side CompareSide
	}{{sideReference, c.Reference}, {sideCurrent, c.Current}} {
		switch {
		case s.side.Path == "" && s.side.SQL == "":
			errs = append(errs, fmt.Errorf("--%[1]s: name a file, or give a query with --%[1]s-sql", s.name))
		case s.side.Path != "" && s.side.SQL != "":
			errs = append(errs, fmt.Errorf("--%[1]s and --%[1]s-sql: give one of them", s.name))
		}
	}
	errs = append(errs, c.Reading.Validate(sideReference, sideCurrent))
	if formats := []string{formatTable, formatJSON, formatHTML}; c.Format != "" && !slices.Contains(formats, c.Format) {
		errs = append(errs, fmt.Errorf("--format: %q is not one of %s", c.Format, strings.Join(formats, ", ")))
	}
	if ext := filepath.Ext(c.Output); c.Format == "" && ext != "" && !slices.Contains(outputExtensions, strings.ToLower(ext)) {
		errs = append(errs, fmt.Errorf("--output: a name that ends in %s does not say what to write: give --format table, json or html", ext))
	}
	return errors.Join(append(errs, c.Options.Validate())...)
}

// outputExtensions are the ends of names from which the form of a report follows.
var outputExtensions = []string{".txt", ".log", ".out", ".json", ".html", ".htm"}

// StattestNames returns the names of all tests that a comparison can choose from.
func StattestNames() []string {
	var names []string
	for _, t := range stattest.Tests() {
		names = append(names, t.Name)
	}
	return names
}

func (c CompareConfig) format() string {
	switch ext := strings.ToLower(filepath.Ext(c.Output)); {
	case c.Format != "":
		return c.Format
	case ext == ".json":
		return formatJSON
	case ext == ".html" || ext == ".htm":
		return formatHTML
	default:
		return formatTable
	}
}

// Compare compares two tables and writes the report to out, or into the file that the
// configuration names. cfg says where ClickHouse is, for a side that is a query. It returns
// within a second when ctx ends: what still computes then is left behind, and the process is to end.
func Compare(ctx context.Context, c CompareConfig, cfg func() (config.Config, error), out io.Writer) error {
	if os.Getenv("GOGC") == "" {
		// Collecting often is cheap here, since most of the heap is numbers, which hold no pointers;
		// and without it what was read and let go would double the memory.
		defer debug.SetGCPercent(debug.SetGCPercent(25))
	}
	var kept keptFiles
	defer kept.remove()
	type answer struct {
		result *compare.Result
		err    error
	}
	answers := make(chan answer, 1)
	go func() { // ends with the comparison, or the process
		result, err := c.compare(ctx, cfg, &kept)
		answers <- answer{result, err}
	}()
	var got answer
	select {
	case got = <-answers:
	case <-ctx.Done():
		timer := time.NewTimer(compareGrace)
		defer timer.Stop()
		select {
		case got = <-answers:
		case <-timer.C:
			return fmt.Errorf("the comparison was interrupted: %w", context.Cause(ctx))
		}
	}
	if got.err != nil {
		return got.err
	}
	if err := c.write(got.result, out); err != nil {
		return err
	}
	switch {
	case c.FailOnDrift && got.result.Dataset.Drifted:
		return ErrDrift
	case c.FailOnDrift && got.result.Dataset.Columns == 0:
		return errors.New("no column was judged, so drift is not known; the report says why of each")
	case c.FailOnDrift && got.result.Dataset.Verdict == compare.VerdictNotJudged:
		return errors.New("the columns that were not judged might decide whether the data set drifted; the report says why of each")
	default:
		return nil
	}
}

// compareGrace is how long a comparison that was interrupted may take to end by itself. One
// page of a file can hold billions of values, and one test of a column takes a while.
const compareGrace = 500 * time.Millisecond

func (c CompareConfig) compare(ctx context.Context, cfg func() (config.Config, error), kept *keptFiles) (*compare.Result, error) {
	reference, err := c.open(ctx, c.Reference, sideReference, cfg, kept)
	if err != nil {
		return nil, err
	}
	defer reference.Close() // was only read
	current, err := c.open(ctx, c.Current, sideCurrent, cfg, kept)
	if err != nil {
		return nil, err
	}
	defer current.Close() // was only read
	return compare.Compare(ctx, reference, current, c.Options)
}

// keptFiles are files that go with the comparison, whatever becomes of it.
type keptFiles struct {
	mu    sync.Mutex
	names []string
	gone  bool
}

// create makes a file.
func (k *keptFiles) create(pattern string) (*os.File, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return nil, context.Canceled
	}
	file, err := os.CreateTemp("", pattern)
	if err == nil {
		k.names = append(k.names, file.Name())
	}
	return file, err
}

func (k *keptFiles) remove() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	for _, name := range k.names {
		_ = os.Remove(name) // a file of the system's temporary folder
	}
}

func (c CompareConfig) open(ctx context.Context, side CompareSide, name string, cfg func() (config.Config, error), kept *keptFiles) (dataset.Source, error) {
	if side.SQL != "" {
		return openQuery(ctx, side.SQL, "query of the "+name, cfg, kept)
	}
	options, err := c.options(name)
	if err != nil {
		return nil, err
	}
	return dataset.Open(ctx, side.Path, options)
}

// openQuery keeps the answer of a ClickHouse query in a file: it is read more than once, and
// another run could give other rows, or the same in another order.
func openQuery(ctx context.Context, sql, name string, load func() (config.Config, error), kept *keptFiles) (dataset.Source, error) {
	cfg, err := load()
	if err != nil {
		return nil, err
	}
	client, err := clickhouse.Open(cfg.ClickHouseOptions(zerolog.Nop()))
	if err != nil {
		return nil, err
	}
	defer client.Close() // the answer was read to its end, or is given up
	answer, err := client.QueryArrow(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer answer.Close() // was read to its end, or is given up
	file, err := kept.create("millrace-query-*.arrows")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	_, err = io.Copy(file, answer)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: keep its answer: %w", name, err)
	}
	return dataset.FromArrowStream(ctx, name, func(context.Context) (io.ReadCloser, error) {
		return os.Open(file.Name())
	}, dataset.Options{})
}

// terminalWidth returns how many characters a line has, 0 where out is no terminal.
func terminalWidth(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// write writes the report. A file is there as a whole or not at all.
func (c CompareConfig) write(r *compare.Result, out io.Writer) error {
	colour := c.Output == "" && printable.IsTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	var report bytes.Buffer
	var err error
	switch c.format() {
	case formatJSON:
		err = compare.WriteJSON(&report, r, true)
		if c.Output == "" {
			document := printable.Document(report.Bytes()) // the names of columns and categories are the data's
			report.Reset()
			report.Write(document)
		}
	case formatHTML:
		err = compare.WriteHTML(&report, r, time.Now())
	default:
		width := 0
		if c.Output == "" {
			width = terminalWidth(out)
		}
		err = compare.WriteTable(&report, r, colour, width)
	}
	if err != nil {
		return err
	}
	if c.Output == "" {
		if _, err := out.Write(report.Bytes()); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return nil
	}
	if info, err := os.Lstat(c.Output); err == nil && !info.Mode().IsRegular() { // such as /dev/null or a link like /dev/stdout, which nothing is to replace
		if err := os.WriteFile(c.Output, report.Bytes(), 0o600); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return nil
	}
	file, err := os.CreateTemp(filepath.Dir(c.Output), "."+filepath.Base(c.Output)+"-*")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = file.Write(report.Bytes())
	err = errors.Join(err, file.Close()) // 0600: a report quotes the data
	if err == nil {
		err = os.Rename(file.Name(), c.Output)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}
