//go:build linux && amd64

//nolint:gosec // handing pointers to C is what this file is for
package embedded

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb's C interface. The functions have the signatures of chdb.h; a size_t is a
// uintptr. Nothing that Go allocated is kept by C after a call.
type library struct {
	// connect returns a pointer to a connection, or nil after it wrote its reason to stderr.
	// The first connection starts the engine in its data directory.
	connect func(argc int32, argv **byte) *connection
	// closeConn closes a connection; closing the last one stops the engine.
	closeConn func(*connection)
	// query runs statements, one at a time on a connection. The result must be destroyed.
	query func(conn unsafe.Pointer, sql *byte, sqlLen uintptr, format *byte, formatLen uintptr,
		names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, params uintptr) unsafe.Pointer
	destroy      func(result unsafe.Pointer)
	buffer       func(result unsafe.Pointer) *byte
	length       func(result unsafe.Pointer) uintptr
	errorText    func(result unsafe.Pointer) string
	rowsInResult func(result unsafe.Pointer) uint64
	rowsRead     func(result unsafe.Pointer) uint64
	bytesRead    func(result unsafe.Pointer) uint64
	rowsWritten  func(result unsafe.Pointer) uint64
	bytesWritten func(result unsafe.Pointer) uint64

	// sigaction is libc's; the buffers hold a struct sigaction (152 bytes in glibc).
	sigaction func(signal int32, set, get *[256]byte) int32
}

// connection is C's chdb_connection: what connect returns points to it.
type connection struct{ handle unsafe.Pointer }

func loadLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load the ClickHouse engine %s: %w", path, err)
	}
	l := new(library)
	for name, fn := range map[string]any{
		"chdb_connect":                   &l.connect,
		"chdb_close_conn":                &l.closeConn,
		"chdb_query_with_params_n":       &l.query,
		"chdb_destroy_query_result":      &l.destroy,
		"chdb_result_buffer":             &l.buffer,
		"chdb_result_length":             &l.length,
		"chdb_result_error":              &l.errorText,
		"chdb_result_rows_read":          &l.rowsInResult,
		"chdb_result_storage_rows_read":  &l.rowsRead,
		"chdb_result_storage_bytes_read": &l.bytesRead,
		"chdb_result_rows_written":       &l.rowsWritten,
		"chdb_result_bytes_written":      &l.bytesWritten,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("load the ClickHouse engine %s, which is not the pinned version, run `make native`: %w", path, err)
		}
		purego.RegisterFunc(fn, symbol)
	}
	symbol, err := purego.Dlsym(purego.RTLD_DEFAULT, "sigaction")
	if err != nil {
		return nil, fmt.Errorf("find libc's sigaction: %w", err)
	}
	purego.RegisterFunc(&l.sigaction, symbol)
	return l, nil
}

// open opens a connection, which is a session with default settings. The caller closes it.
func (l *library) open(args []string) (*connection, error) {
	argv := make([]*byte, 0, len(args)+1)
	for _, arg := range args {
		argv = append(argv, unsafe.StringData(arg+"\x00"))
	}
	argv = append(argv, nil)
	conn := l.connect(int32(len(args)), &argv[0])
	runtime.KeepAlive(argv)
	if conn == nil {
		return nil, fmt.Errorf("libchdb refused to start with %q and wrote its reason to stderr", args[1:])
	}
	return conn, nil
}

// boot opens the connection that starts the engine, and gives the Go runtime its signal handlers
// back: the engine installs its own for SIGSEGV and others once, when it starts, and those would
// turn a nil dereference that Go code recovers from into the end of the process.
func (l *library) boot(args []string) (*connection, error) {
	const signals = 31
	var before [signals + 1][256]byte
	for signal := range before {
		l.sigaction(int32(signal), nil, &before[signal])
	}
	defer func() {
		var now [256]byte
		for signal := range before {
			if l.sigaction(int32(signal), nil, &now) == 0 && now != before[signal] {
				l.sigaction(int32(signal), &before[signal], nil)
			}
		}
	}()
	return l.open(args)
}

// result is a query's result in the engine's memory, until it is freed.
type result struct {
	lib    *library
	handle unsafe.Pointer
}

// run runs a query on a connection that no other goroutine uses meanwhile. The format is used
// where the query names none. params are the values of {name:Type} placeholders, escaped as
// ClickHouse's HTTP interface wants them. The error is an *exception.
func (l *library) run(conn *connection, sql, format string, params map[string]string) (*result, error) {
	n := len(params)
	names, nameLens := make([]*byte, 0, n+1), make([]uintptr, 0, n+1)
	values, valueLens := make([]*byte, 0, n+1), make([]uintptr, 0, n+1)
	for name, value := range params {
		// The trailing NUL makes sure that an empty string has an address too.
		names, nameLens = append(names, unsafe.StringData(name+"\x00")), append(nameLens, uintptr(len(name)))
		values, valueLens = append(values, unsafe.StringData(value+"\x00")), append(valueLens, uintptr(len(value)))
	}
	handle := l.query(conn.handle, unsafe.StringData(sql), uintptr(len(sql)), unsafe.StringData(format), uintptr(len(format)),
		unsafe.SliceData(names), unsafe.SliceData(nameLens), unsafe.SliceData(values), unsafe.SliceData(valueLens), uintptr(n))
	runtime.KeepAlive(names)
	runtime.KeepAlive(values)
	r := &result{lib: l, handle: handle}
	if text := l.errorText(handle); text != "" {
		r.free()
		return nil, parseException(text)
	}
	return r, nil
}

// data is the formatted result, in the engine's memory: it must not be used after free.
func (r *result) data() []byte { return unsafe.Slice(r.lib.buffer(r.handle), r.lib.length(r.handle)) }

func (r *result) free() { r.lib.destroy(r.handle) }

// summary is the value of X-ClickHouse-Summary.
func (r *result) summary(took time.Duration) string {
	return fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d","total_rows_to_read":"0","result_rows":"%d","result_bytes":"%d","elapsed_ns":"%d"}`,
		r.lib.rowsRead(r.handle), r.lib.bytesRead(r.handle), r.lib.rowsWritten(r.handle), r.lib.bytesWritten(r.handle), r.lib.rowsInResult(r.handle), r.lib.length(r.handle), took.Nanoseconds())
}
