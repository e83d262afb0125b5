// Command report sums up a file of comparisons that the golden tests wrote (make
// golden-report): by function, how many and the largest relative error. It fails below
// 2,000 comparisons, where numbers that readers find in files do not count.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/drift/internal/golden"
)

const least = 2000

func main() {
	if err := run(os.Args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "golden-report:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: report FILE")
	}
	f, err := os.Open(args[1]) //nolint:gosec // the file is the argument
	if err != nil {
		return err
	}
	defer f.Close()
	type row struct {
		n    int
		most float64
	}
	rows := map[string]row{}
	total := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		function, text, ok := strings.Cut(lines.Text(), "\t")
		if !ok {
			return fmt.Errorf("line %d of %s has no tab", total+1, args[1])
		}
		e, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		r := rows[function]
		rows[function] = row{r.n + 1, max(r.most, e)}
		total++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	const line = "%-34s %12d %24.2g\n"
	fmt.Fprintf(out, "%-34s %12s %24s\n", "function", "comparisons", "largest relative error")
	read, found := rows[golden.Read]
	delete(rows, golden.Read)
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(out, line, name, rows[name].n, rows[name].most)
	}
	total -= read.n
	fmt.Fprintf(out, "%-34s %12d\n", "all", total)
	if found {
		fmt.Fprintf(out, line, golden.Read, read.n, read.most)
	}
	if total < least {
		return fmt.Errorf("%d comparisons, at least %d are wanted", total, least)
	}
	return nil
}
