package operate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"

	"github.com/millrace/millrace/schemas"
)

// target writes what labels say, where the manifest does not.
func (l *learner) target() error {
	if l.o.Label == "" {
		return nil
	}
	column, err := l.t.index(l.o.Label)
	if err != nil {
		return fmt.Errorf("--label: %w", err)
	}
	if l.m.Target != nil {
		if l.o.Positive != "" || l.o.PositiveAbove != nil {
			l.note("which labels are positive says target of the manifest, not --positive or --positive-above")
		}
		return nil
	}
	if slices.Contains(l.from, column) {
		l.note("column %q is the label and a feature: a model that knows the label predicts nothing", l.o.Label)
	}
	s := l.t.summarize(column)
	t, err := l.proposeTarget(&s)
	if err != nil {
		return fmt.Errorf("--label %s: %w", l.o.Label, err)
	}
	lines := []string{"target:", "  kind: " + string(t.Kind), "  score: " + schemas.YAMLText(t.Score)}
	if t.Kind == schemas.TargetBinary {
		lines = append(lines, "  threshold: 0.5 # predicted positive from here")
		if t.Positive != "" {
			lines = append(lines, "  positive: "+schemas.YAMLText(t.Positive))
		} else {
			lines = append(lines, "  positive_above: "+schemas.YAMLNumber(t.PositiveAbove)+" # a label above it is positive")
		}
	}
	if err := l.e.SetSection("target", lines...); err != nil {
		return err
	}
	return l.parse()
}

// proposeTarget tells the kind of problem by the labels and the outputs.
func (l *learner) proposeTarget(s *summary) (schemas.Target, error) {
	var class, score string // the first output of each kind
	floats := 0
	for _, o := range l.m.Outputs {
		switch isFloat := o.Type == schemas.TypeFloat32 || o.Type == schemas.TypeFloat64; {
		case isFloat:
			if floats++; score == "" {
				score = o.Name
			}
		case class == "" && o.Type != schemas.TypeBool:
			class = o.Name
		}
	}
	isText, isBool := s.typ.ID() == arrow.STRING, s.typ.ID() == arrow.BOOL
	values := len(s.words)
	two := isBool || !isText && s.whole && s.low != s.high && l.takesTwo(s)
	_, err := strconv.ParseFloat(l.o.Positive, 64)
	switch {
	case s.missing == l.t.rows:
		return schemas.Target{}, errors.New("no row has a label: leave it out")
	case s.typ.ID() == arrow.TIMESTAMP || s.typ.ID() == arrow.DATE32:
		return schemas.Target{}, errors.New("it holds times, which no output predicts")
	case values == 1 || !isText && s.low == s.high:
		return schemas.Target{}, errors.New("all labels are the same, which says nothing about a prediction: take other rows, or leave it out")
	case isText && (err == nil || values == 2 && floats == 1 && mostlyNumbers(s.words)):
		return schemas.Target{}, fmt.Errorf("it holds numbers written as text: read them by --type %s=int; which are positive says --positive-above", l.o.Label)
	case l.o.PositiveAbove != nil && isText:
		return schemas.Target{}, errors.New("it holds text, and --positive-above is for numbers: give --positive")
	case l.o.Positive != "" && !isText:
		return schemas.Target{}, errors.New("it holds numbers, and --positive is for text: give --positive-above")
	case l.o.PositiveAbove != nil || l.o.Positive != "" || two && floats == 1 || isText && values == 2 && floats == 1:
		t := schemas.Target{Kind: schemas.TargetBinary, Score: score, Positive: l.o.Positive}
		switch {
		case floats == 0:
			return t, errors.New("no output is a float, which a probability of the positive class would be")
		case l.o.PositiveAbove != nil:
			t.PositiveAbove = *l.o.PositiveAbove
		case isText && t.Positive == "":
			return t, fmt.Errorf("it holds %s: say which is positive by --positive", strings.Join(s.words, " and "))
		case !isText && !isBool && (s.low > 0 || s.high <= 0):
			t.PositiveAbove = (s.low + s.high) / 2
			l.note("a label above %v is positive, as labels are %v and %v: else give --positive-above", t.PositiveAbove, s.low, s.high)
		}
		return t, nil
	case class != "" && (isText || s.whole):
		return schemas.Target{Kind: schemas.TargetMulticlass, Score: class}, nil
	case score != "" && !isText && !isBool:
		return schemas.Target{Kind: schemas.TargetRegression, Score: score}, nil
	default:
		return schemas.Target{}, fmt.Errorf("it holds %s, which no output predicts", s.typ)
	}
}

// takesTwo tells whether numbers take only their least and greatest value.
func (l *learner) takesTwo(s *summary) bool {
	column, _ := l.t.index(l.o.Label)
	for _, part := range l.t.parts(column) {
		number := numberAt(part)
		for row := range part.Len() {
			if x := number(row); !part.IsNull(row) && x != s.low && x != s.high && !math.IsNaN(x) {
				return false
			}
		}
	}
	return true
}
