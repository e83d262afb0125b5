package operate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/drift/dataset"
)

// Sides of a comparison, as options name them.
const (
	sideReference = "reference"
	sideCurrent   = "current"
)

// Reading says how files are read.
type Reading struct {
	InputFormat string // one of dataset.Formats, or json; empty: by name and contents
	Delimiter   Sided  // of CSV: one character, or \t; none: a comma
	Decimal     Sided  // the decimal point of numbers of CSV; none: a point
	Thousands   Sided  // what separates the thousands of numbers of CSV, one character; none: nothing does
	Encoding    Sided  // of the text of CSV and JSON; none: UTF-8

	// NA are the words that mean a missing value in CSV, of which "default" stands for dataset.DefaultNA. nil: these;
	// empty, or one empty word: none but a field of nothing.
	NA []string

	Types []string // of columns of files, as age=float; the others' are the file's or inferred
}

// Sided is an option of both sides of a comparison (VALUE) or of one (reference=VALUE, current=VALUE),
// of which the narrower stands. It is a flag that may be given more than once.
type Sided []string

// Set implements pflag.Value.
func (s *Sided) Set(value string) error {
	*s = append(*s, value)
	return nil
}

// String implements pflag.Value.
func (s *Sided) String() string { return strings.Join(*s, " ") }

// Type implements pflag.Value.
func (s *Sided) Type() string { return "[SIDE=]VALUE" }

// of returns the value of a side; of what is no side of a comparison, that of both.
func (s Sided) of(side string) string {
	both := ""
	for _, v := range s {
		if rest, ok := strings.CutPrefix(v, side+"="); ok && (side == sideReference || side == sideCurrent) {
			return rest
		}
		if !strings.HasPrefix(v, sideReference+"=") && !strings.HasPrefix(v, sideCurrent+"=") {
			both = v
		}
	}
	return both
}

// Validate reports all that is wrong with the options of sides, without reading anything.
func (r Reading) Validate(sides ...string) error {
	var errs []error
	if r.InputFormat != "" && r.InputFormat != "json" && !slices.Contains(dataset.Formats, r.InputFormat) {
		errs = append(errs, fmt.Errorf("--input-format: %q is not one of %s, json", r.InputFormat, strings.Join(dataset.Formats, ", ")))
	}
	said := map[string]bool{}
	for _, side := range sides {
		if _, err := r.options(side); err != nil && !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// options returns how a side is read.
func (r Reading) options(side string) (dataset.Options, error) {
	o := dataset.Options{Format: r.InputFormat, Encoding: r.Encoding.of(side), NA: r.words()}
	var errs []error
	for _, c := range []struct {
		option string
		given  string
		to     *byte
	}{{"--delimiter", r.Delimiter.of(side), &o.Delimiter}, {"--decimal", r.Decimal.of(side), &o.Decimal}, {"--thousands", r.Thousands.of(side), &o.Thousands}} {
		switch d := c.given; {
		case d == "":
		case d == `\t`:
			*c.to = '\t'
		case d == "\u00a0" || d == "\u202f" || d == "\u2009": // one of those that a space stands for
			*c.to = ' '
		case d == "\u2019":
			*c.to = '\''
		case len(d) == 1 && d[0] < utf8.RuneSelf && d != "\n" && d != "\r" && d != `"`:
			*c.to = d[0]
		default:
			errs = append(errs, fmt.Errorf("%s: %q is no single character; a tab is \\t", c.option, d))
		}
	}
	if o.Encoding != "" {
		if err := dataset.ParseEncoding(o.Encoding); err != nil {
			errs = append(errs, fmt.Errorf("--encoding: %w", err))
		}
	}
	if o.Thousands != 0 && (o.Thousands == o.Decimal || o.Decimal == 0 && o.Thousands == '.') {
		errs = append(errs, fmt.Errorf("--thousands %c: it is the decimal point, too: say what that is by --decimal", o.Thousands))
	}
	var err error
	if o.Types, err = r.types(); err != nil {
		errs = append(errs, err)
	}
	return o, errors.Join(errs...)
}

// MissingWords are the words that mean a missing value where nothing else is said.
func MissingWords() []string { return slices.Clone(dataset.DefaultNA) }

// words returns the words for what is missing.
func (r Reading) words() []string {
	if r.NA == nil {
		return nil
	}
	words := []string{}
	for _, w := range r.NA {
		switch w {
		case "":
		case "default":
			words = append(words, dataset.DefaultNA...)
		default:
			words = append(words, w)
		}
	}
	return words
}

func (r Reading) types() (map[string]arrow.DataType, error) {
	types := make(map[string]arrow.DataType, len(r.Types))
	for _, given := range r.Types {
		i := strings.LastIndex(given, "=") // names of columns may hold =
		if i < 1 {
			return nil, fmt.Errorf("--type: %q is not COLUMN=TYPE, such as zip=text", given)
		}
		t, err := dataset.ParseType(given[i+1:])
		if err != nil {
			return nil, fmt.Errorf("--type %s: %w", given, err)
		}
		types[given[:i]] = t
	}
	return types, nil
}
