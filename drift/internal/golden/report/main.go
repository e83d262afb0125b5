// Command report sums up a file of comparisons that the golden tests wrote (make
// golden-report): by function, how many and the largest relative error. It fails below
// 2,000 comparisons.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

const least = 2000

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "golden-report:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
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
	fmt.Printf("%-34s %12s %24s\n", "function", "comparisons", "largest relative error")
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		fmt.Printf("%-34s %12d %24.2g\n", name, rows[name].n, rows[name].most)
	}
	fmt.Printf("%-34s %12d\n", "all", total)
	if total < least {
		return fmt.Errorf("%d comparisons, at least %d are wanted", total, least)
	}
	return nil
}
