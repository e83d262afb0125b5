package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// withHint adds to the error of a ragged CSV what may be wrong with its reading.
func (s *textSource) withHint(ctx context.Context, err error) error {
	var ragged *raggedError
	if !errors.As(err, &ragged) {
		return err
	}
	if hint := s.hint(ctx); hint != "" && s.options.guessed {
		return fmt.Errorf("%w: %s", err, hint)
	}
	if strings.HasPrefix(ragged.first, "#") || len(s.names) == 1 && strings.Contains(ragged.first, " ") {
		return fmt.Errorf("%w: is its first line, %q, the header? Take off what stands before it", err, clip(ragged.first))
	}
	return err
}

// otherDelimiter refuses an only column that looks like several.
func (s *textSource) otherDelimiter(ctx context.Context) error {
	if !strings.ContainsAny(s.names[0], ";\t|") {
		return nil
	}
	hint := s.hint(ctx)
	if hint == "" {
		hint = "give the character between values by --delimiter"
	}
	return fmt.Errorf("its only column is called %q: %s, or --delimiter , where that is right", s.names[0], hint)
}

// hint says which other delimiter the first lines have, each the same number of times.
func (s *textSource) hint(ctx context.Context) string {
	r, err := decompressed(s.file, s.size, s.compressed)
	if err != nil {
		return ""
	}
	defer r.Close() // was only read
	decoded, _, err := decode(untilDone{ctx, r}, s.encoding)
	if err != nil {
		return ""
	}
	head, err := io.ReadAll(io.LimitReader(decoded, blockBytes))
	if err != nil {
		return ""
	}
	lines := splitOutside(head)
	if len(head) == blockBytes && len(lines) > 1 {
		lines = lines[:len(lines)-1]
	}
	lines = lines[:min(len(lines), 50)]
	for _, d := range []byte{';', '\t', '|', ',', ':'} {
		if d == s.options.Delimiter || len(lines) < 2 {
			continue
		}
		n := countOutside(lines[0], d)
		same := n > 0
		for _, l := range lines[1:] {
			same = same && countOutside(l, d) == n
		}
		if !same {
			continue
		}
		word := shellWord(string(d))
		if d == '\t' {
			word = `'\t'`
		}
		text := fmt.Sprintf("its lines look like values with %q between them: --delimiter %s", d, word)
		if d != ',' && decimalCommas(lines[1:], d) {
			text += " --decimal ,"
		}
		return text
	}
	return ""
}

// splitOutside splits lines that have something in them, at line ends that are not in quotes.
func splitOutside(text []byte) (lines [][]byte) {
	from, quoted := 0, false
	for i := 0; i <= len(text); i++ {
		if i < len(text) {
			if text[i] == '"' {
				quoted = !quoted
			}
			if quoted || text[i] != '\n' && text[i] != '\r' {
				continue
			}
		}
		if l := text[from:i]; len(bytes.TrimSpace(l)) > 0 {
			lines = append(lines, l)
		}
		from = i + 1
	}
	return lines
}

func countOutside(line []byte, d byte) (n int) {
	quoted := false
	for _, b := range line {
		switch {
		case b == '"':
			quoted = !quoted
		case b == d && !quoted:
			n++
		}
	}
	return n
}

// decimalCommas tells whether any value is a number with a comma, and none is one with a point.
func decimalCommas(lines [][]byte, d byte) bool {
	commas := false
	for _, l := range lines {
		for v := range bytes.SplitSeq(l, []byte{d}) {
			v = bytes.Trim(v, `" `)
			var buf [64]byte
			if n, ok := parseNumber(v); ok && !n.integer {
				return false
			}
			if _, ok := (numberStyle{decimal: ','}).rewrite(buf[:0], v); ok && bytes.IndexByte(v, ',') >= 0 {
				commas = true
			}
		}
	}
	return commas
}
