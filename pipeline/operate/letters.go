package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/printable"
)

// LetterID names a dead letter by its place in the dead-letter topic.
type LetterID struct {
	Partition int32
	Offset    int64
}

// LetterFilter chooses dead letters; zero values choose all.
type LetterFilter struct {
	Model string
	Class string
	Only  []LetterID
	Limit int
	Again bool // a replay sends what was replayed before, too
}

func (f LetterFilter) matches(rec *schemas.Record) bool {
	return (f.Model == "" || rec.HeaderText(schemas.HeaderModel) == f.Model) &&
		(f.Class == "" || rec.HeaderText(schemas.HeaderErrorClass) == f.Class) &&
		(len(f.Only) == 0 || slices.Contains(f.Only, LetterID{rec.Partition, rec.Offset}))
}

var errEnough = errors.New("enough")

// eachLetter visits the dead letters that match, oldest first.
func eachLetter(ctx context.Context, cfg config.Config, admin *consumers.Admin, filter LetterFilter, visit func(rec *schemas.Record) error) error {
	n := 0
	err := admin.Read(ctx, cfg.Topics.DeadLetters, func(rec *schemas.Record) error {
		if !filter.matches(rec) {
			return nil
		}
		if n++; filter.Limit > 0 && n > filter.Limit {
			return errEnough
		}
		return visit(rec)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// ListDeadLetters writes one line a letter: its id, when it failed, its class, the coordinates
// of its request, the topic, when it was replayed (or "-"), and the reason. Nothing from
// outside holds a tab, a line break or another control character there.
func ListDeadLetters(ctx context.Context, cfg config.Config, filter LetterFilter, out io.Writer) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		marks, err := readReplayMarks(ctx, cfg, admin)
		if err != nil {
			return err
		}
		return eachLetter(ctx, cfg, admin, filter, func(rec *schemas.Record) error {
			d := schemas.ReadDeadLetter(rec)
			request := strconv.Itoa(int(d.Request.Partition)) + "/" + strconv.FormatInt(d.Request.Offset, 10)
			if d.Row != schemas.WholeRecord {
				request += "/" + strconv.Itoa(d.Row)
			}
			replayed := "-"
			if mark, ok := marks[d.Request]; ok {
				replayed = "replayed " + mark.At.UTC().Format(time.RFC3339)
			}
			columns := []string{
				strconv.Itoa(int(rec.Partition)) + "/" + strconv.FormatInt(rec.Offset, 10),
				d.FailedAt.UTC().Format(schemas.FailedAtFormat), string(d.Class), request, d.Topic, replayed, d.Reason,
			}
			for i, column := range columns {
				columns[i] = printable.Text(column)
			}
			_, err := fmt.Fprintln(out, strings.Join(columns, "\t"))
			return err
		})
	})
}

// ShowDeadLetter writes one letter whole: its headers as lines, then its key and value. What
// does not print is escaped; a value that is no text is quoted as a whole.
func ShowDeadLetter(ctx context.Context, cfg config.Config, partition int32, offset int64, out io.Writer) error {
	return withAdmin(cfg, func(admin *consumers.Admin) error {
		return admin.FindRecord(ctx, cfg.Topics.DeadLetters, partition, offset, func(rec *schemas.Record) error {
			for _, h := range rec.Headers {
				fmt.Fprintf(out, "%s: %s\n", printable.Text(h.Key), quotedUnlessText(h.Value, printable.Text))
			}
			_, err := fmt.Fprintf(out, "key: %s\n\n%s\n", quotedUnlessText(rec.Key, printable.Text), quotedUnlessText(rec.Value, printable.Lines))
			return err
		})
	})
}

// quotedUnlessText returns text as escape leaves it, and what is not UTF-8 in quotes.
func quotedUnlessText(b []byte, escape func(string) string) string {
	if !utf8.Valid(b) {
		return printable.Text(strconv.Quote(string(b)))
	}
	return escape(string(b))
}
