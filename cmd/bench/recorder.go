package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// recorderRates are rows per second into one table, between the same shares of the rows.
type recorderRates struct {
	recorder   float64 // of a recorder that counts what it stores by a plan; its inserts are answered when their rows have reached the disk
	unprofiled float64 // of one that has no plan
	unsynced   float64 // of one that has no plan, whose inserts are answered before
	infile     float64 // of files that are inserted by hand, answered before as well
	bytes      int64   // that each stored
	rows       int64
	cpu        float64 // microseconds of the recorder's process for each row, with a plan
	cpuBare    float64 // and without
}

// infileRows is the most rows of one file, as it is of one insert of the recorder.
const infileRows = 100_000

// unsyncedDatabase holds what the recorder stores without fsync.
const unsyncedDatabase = "bench_unsynced"

// unprofiledDatabase holds what the recorder without a plan stores.
const unprofiledDatabase = "bench_unprofiled"

// infileDatabase holds the table that files are inserted into.
const infileDatabase = "bench_infile"

// runRecorder stores the observations of recorderCase four times: by the recorder, without fsync, with
// it, and with a plan too, then from files.
func (h *harness) runRecorder(ctx context.Context) (err error) {
	last := len(h.runs[recorderCase]) - 1
	of := h.runs[recorderCase][last]
	total := of.requests * rowsOf(recorderCase.Codec)
	server, addr, err := startService(ctx, partClickHouse, filepath.Join(h.dir, "clickhouse"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop(context.WithoutCancel(ctx))) }()
	set := append(h.settings(roundName(recorderCase, last)), "roles=recorder", "clickhouse.addr="+addr)
	unsynced := append(slices.Clone(set), "clickhouse.durability=none", "clickhouse.database="+unsyncedDatabase, "recorder.group=bench-unsynced")
	if h.recorder.unsynced, _, err = h.record(ctx, roleSpec{Set: unsynced}, total); err != nil {
		return err
	}
	h.say("recorder without fsync: %.0f rows/s", h.recorder.unsynced)
	unprofiled := append(slices.Clone(set), "clickhouse.database="+unprofiledDatabase, "recorder.group=bench-unprofiled")
	if h.recorder.unprofiled, h.recorder.cpuBare, err = h.record(ctx, roleSpec{Set: unprofiled}, total); err != nil {
		return err
	}
	h.say("recorder without a plan: %.0f rows/s, %.2f of that, %.3f us CPU a row", h.recorder.unprofiled, h.recorder.unprofiled/h.recorder.unsynced, h.recorder.cpuBare)
	model, err := loadModel(ctx, h.models, recorderCase.Model)
	if err != nil {
		return err
	}
	profiled, err := keepPlan(ctx, addr, of.config.ClickHouse.Database, model.Manifest)
	if err != nil {
		return err
	}
	if h.recorder.recorder, h.recorder.cpu, err = h.record(ctx, roleSpec{Set: set, Profile: h.profileName("recorder", recorderCase.Name())}, total); err != nil {
		return err
	}
	if n, err := profiled(ctx); err != nil || n != total {
		return errors.Join(err, fmt.Errorf("%d of %d rows are in profiles", n, total))
	}
	h.say("recorder: %.0f rows/s, %.2f of that without a plan, %.3f us CPU a row", h.recorder.recorder, h.recorder.recorder/h.recorder.unprofiled, h.recorder.cpu)
	if err := h.infile(ctx, of.config.Topics.Observations, of.config.ClickHouse.Database, addr, total); err != nil {
		return err
	}
	h.say("INSERT … FROM INFILE: %.0f rows/s", h.recorder.infile)
	return errors.Join(server.stop(ctx), h.kafka.drop(ctx, topicsOf(of.config.Topics.Topics)...))
}

// record stores observations by a recorder and returns rows per second, and the microseconds of CPU
// that its process took for each of all rows.
func (h *harness) record(ctx context.Context, spec roleSpec, total int64) (rate, cpu float64, err error) {
	recorder, err := start(ctx, partRole, spec)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, recorder.stop(context.WithoutCancel(ctx))) }()
	var stats roleStats
	if err := recorder.hear(ctx, &stats); err != nil {
		return 0, 0, err
	}
	began := stats.CPU
	readings, err := watch(ctx, recorder, total, func(ctx context.Context) (int64, error) {
		err := recorder.ask(ctx, struct{}{}, &stats)
		return stats.Observations, err
	})
	if err != nil {
		return 0, 0, err
	}
	cpu = us(stats.CPU-began) / float64(total)
	if err := recorder.stop(ctx); err != nil {
		return 0, 0, err
	}
	rate, err = steady(readings, total, windowToStored)
	return rate, cpu, err
}

// infile stores a topic's observations from files and checks that all tables have them all.
func (h *harness) infile(ctx context.Context, topic, database, addr string, total int64) (err error) {
	client, err := clickhouse.Open(clickhouse.Options{
		Addr: []string{addr}, Storage: schemas.Storage{Database: infileDatabase, TTLDays: 90}, Logger: zerolog.Nop(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	model, err := loadModel(ctx, h.models, recorderCase.Model)
	if err != nil {
		return err
	}
	schema := model.Manifest.ObservationSchema()
	if err := errors.Join(client.Migrate(ctx), client.EnsureTable(ctx, schema)); err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(h.dir, "infile"))
	if err != nil {
		return fmt.Errorf("write files to insert: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("write files to insert: %w", err)
	}
	s := splicer{dir: dir}
	err = h.kafka.reader.Read(ctx, topic, s.add)
	if err := errors.Join(err, s.close()); err != nil {
		return err
	}
	if err := quiet(ctx, client); err != nil {
		return err
	}
	table := infileDatabase + "." + schemas.ObservationsTable(modelName)
	readings := []reading{{at: time.Now()}}
	for _, file := range s.files {
		if err := client.Exec(ctx, infileStatement(table, schema, file.name)); err != nil {
			return err
		}
		readings = append(readings, reading{time.Now(), readings[len(readings)-1].done + file.rows})
	}
	if h.recorder.infile, err = steady(readings, s.rows, windowToStored); err != nil {
		return err
	}
	h.recorder.bytes, h.recorder.rows = s.bytes, s.rows
	for _, in := range []string{infileDatabase, unsyncedDatabase, unprofiledDatabase, database} {
		var counts []struct {
			N uint64 `ch:"n"`
		}
		if err := client.Select(ctx, &counts, "SELECT count() AS n FROM "+in+"."+schemas.ObservationsTable(modelName)); err != nil {
			return err
		}
		if len(counts) != 1 || int64(counts[0].N) != total {
			return fmt.Errorf("database %s has %v observations, want %d", in, counts, total)
		}
	}
	return nil
}

// infileStatement inserts a file as the recorder inserts: one block per partition, stored when
// it is answered.
func infileStatement(table string, schema *arrow.Schema, file string) string {
	columns := make([]string, 0, len(schema.Fields()))
	for _, f := range schema.Fields() {
		columns = append(columns, "`"+f.Name+"`")
	}
	block := strconv.Itoa(4 * infileRows)
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") FROM INFILE '" + file + "'" +
		" SETTINGS async_insert = 0, insert_deduplicate = 0, max_insert_block_size = " + block +
		", min_insert_block_size_rows = " + block + ", min_insert_block_size_bytes = 1073741824 FORMAT ArrowStream"
}

// quiet waits until the server merges nothing: what one insert leaves to do must not slow
// down the next.
func quiet(ctx context.Context, client *clickhouse.Client) error {
	for {
		var merges []struct {
			N uint64 `ch:"n"`
		}
		if err := client.Select(ctx, &merges, "SELECT count() AS n FROM system.merges"); err != nil {
			return err
		}
		if len(merges) == 1 && merges[0].N == 0 {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// splicer writes observation records into files of one Arrow IPC stream each: the schema of
// the first record, the messages of all, one end of stream. Bytes are copied, not encoded
// again.
type splicer struct {
	dir         string
	files       []spliced
	rows, bytes int64

	file *os.File // the last one
	out  *bufio.Writer
}

// spliced is one file.
type spliced struct {
	name string
	rows int64
}

// continuation begins every message of an Arrow IPC stream; one of length 0 is its end.
const continuation = 0xffffffff

var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

func (s *splicer) add(rec *schemas.Record) error {
	header, _ := rec.Header(schemas.HeaderRows)
	rows, err := strconv.ParseInt(string(header), 10, 64)
	if err != nil {
		return fmt.Errorf("an observation record without its number of rows: %w", err)
	}
	schema, rest, err := splitStream(rec.Value)
	if err != nil {
		return err
	}
	if s.file == nil || s.files[len(s.files)-1].rows+rows > infileRows {
		if err := s.next(schema); err != nil {
			return err
		}
	}
	if _, err := s.out.Write(rest); err != nil {
		return fmt.Errorf("write a file to insert: %w", err)
	}
	s.files[len(s.files)-1].rows += rows
	s.rows += rows
	s.bytes += int64(len(rest))
	return nil
}

// next ends the file and begins another.
func (s *splicer) next(schema []byte) error {
	if err := s.close(); err != nil {
		return err
	}
	name := filepath.Join(s.dir, fmt.Sprintf("%04d.arrows", len(s.files)))
	file, err := os.Create(name) //nolint:gosec // in the run's own folder
	if err != nil {
		return fmt.Errorf("write a file to insert: %w", err)
	}
	s.files = append(s.files, spliced{name: name})
	s.file, s.out = file, bufio.NewWriterSize(file, 1<<20)
	s.bytes += int64(len(schema))
	if _, err := s.out.Write(schema); err != nil {
		return fmt.Errorf("write a file to insert: %w", err)
	}
	return nil
}

func (s *splicer) close() error {
	if s.file == nil {
		return nil
	}
	_, err := s.out.Write(endOfStream)
	err = errors.Join(err, s.out.Flush(), s.file.Close())
	s.file = nil
	if err != nil {
		return fmt.Errorf("write a file to insert: %w", err)
	}
	return nil
}

// splitStream cuts a stream of Arrow IPC into its schema message and what follows, without
// its end.
func splitStream(stream []byte) (schema, rest []byte, err error) {
	const prefix = 8 // continuation and length
	if len(stream) < prefix+len(endOfStream) || binary.LittleEndian.Uint32(stream) != continuation {
		return nil, nil, errors.New("an observation record is no Arrow IPC stream")
	}
	length := int(binary.LittleEndian.Uint32(stream[4:])) // a schema has no body
	if length > len(stream)-prefix-len(endOfStream) || string(stream[len(stream)-len(endOfStream):]) != string(endOfStream) {
		return nil, nil, errors.New("an observation record is cut short")
	}
	return stream[:prefix+length], stream[prefix+length : len(stream)-len(endOfStream)], nil
}
