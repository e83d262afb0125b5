package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// part is a part of a table as it lies on the disk.
type part struct {
	Table     string `ch:"table"`
	Name      string `ch:"name"`
	Path      string `ch:"path"`
	Partition string `ch:"partition_id"`
	Least     int64  `ch:"least"`
	Most      int64  `ch:"most"`
	Rows      uint64 `ch:"rows"`
	Active    uint8  `ch:"active"`
}

// newestParts returns the newest active parts of each of the tables, so many at the most,
// with the parts that they were merged from, which still lie there.
func newestParts(parts []part, most int) []part {
	taken := map[string]int{}
	var lost []part
	for _, p := range parts {
		if p.Active == 0 || taken[p.Table] == most {
			continue
		}
		taken[p.Table]++
		lost = append(lost, p)
		for _, from := range parts {
			if from.Active == 0 && from.Table == p.Table && from.Partition == p.Partition && from.Least >= p.Least && from.Most <= p.Most {
				lost = append(lost, from)
			}
		}
	}
	return lost
}

func openTables(cfg config.Config) (*clickhouse.Client, error) {
	return clickhouse.Open(clickhouse.Options{Addr: cfg.ClickHouse.Addr, Username: cfg.ClickHouse.Username, Storage: cfg.Storage()})
}

// loseParts kills ClickHouse, and takes away the newest parts of the tables of rows, as a
// power cut does of which nothing was synced. It returns how many rows that were.
func (c *cluster) loseParts(ctx context.Context, most int) (rows uint64, err error) {
	db, err := openTables(c.cfg)
	if err != nil {
		return 0, err
	}
	defer db.Close() // nothing is pending
	var parts []part
	if err := db.Select(ctx, &parts, `SELECT table, name, path, partition_id, min_block_number AS least, max_block_number AS most, rows, active FROM system.parts
WHERE database = '`+db.Database()+`' AND table IN ('`+strings.Join([]string{schemas.ObservationsTable(model), "dead_letters", "minute_states"}, "', '")+`')
ORDER BY modification_time DESC, max_block_number DESC`); err != nil {
		return 0, err
	}
	if err := c.clickHouse.Signal(syscall.SIGSTOP); err != nil {
		return 0, err
	}
	for _, p := range newestParts(parts, most) {
		path := p.Path
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.dir, clickHouse, path)
		}
		if _, err := os.Stat(path); err != nil {
			continue // merged, or deleted, before ClickHouse stood still
		}
		if err := os.RemoveAll(path); err != nil {
			return rows, fmt.Errorf("delete the part %s of %s: %w", p.Name, p.Table, err)
		}
		if p.Active == 1 {
			rows += p.Rows
		}
		c.log.Info().Str("table", p.Table).Str("part", p.Name).Str("rows", strconv.FormatUint(p.Rows, 10)).Msg("a part is gone")
	}
	return rows, c.clickHouse.Kill(ctx)
}
