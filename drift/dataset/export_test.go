package dataset

import "bytes"

// ParseFloat is exported for tests.
var ParseFloat = parseFloat

// SplitCSV returns the fields of a text whose window starts at so many bytes.
func SplitCSV(text []byte, window int) ([][]string, error) {
	c, err := newCSVReader(block{r: bytes.NewReader(text), line: 1}, ',', false)
	if err != nil {
		return nil, err
	}
	c.buf, c.start, c.end, c.eof, c.r = make([]byte, window), 0, 0, false, bytes.NewReader(text)
	var out [][]string
	for {
		more, err := c.read()
		if !more || err != nil {
			return out, err
		}
		record := make([]string, len(c.fields))
		for i, f := range c.fields {
			record[i] = string(f.v)
		}
		out = append(out, record)
	}
}

// CountCSV reads all records.
func CountCSV(text []byte) error {
	c, err := newCSVReader(block{r: bytes.NewReader(text), line: 1}, ',', false)
	for more := true; more && err == nil; {
		more, err = c.read()
	}
	return err
}
