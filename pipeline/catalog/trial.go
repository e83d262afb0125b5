package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift/breaks"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/inference/onnx"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// TrialCommand is the hidden command that tries a model out: a graph is a program, which can
// take any time and memory, or crash what runs it.
const TrialCommand = "try-model"

// trial is what a child process is to try.
type trial struct {
	Init *initTrial `json:"init,omitempty"` // write a manifest for a graph
	Load *loadTrial `json:"load,omitempty"` // load a version and run it
}

type initTrial struct {
	Path, Name, Version string
	MaxBatchSize        int
}

type loadTrial struct{ Repository, Name, Version string }

// trialResult is what it says, as JSON on its standard output.
type trialResult struct {
	Manifest []byte `json:"manifest,omitempty"`
	Error    string `json:"error,omitempty"`
}

// RunTrial is the child's side: args are the trial as JSON, and what came of it is written to out as
// JSON. It returns the child's exit code.
func RunTrial(ctx context.Context, args []string, out io.Writer) int {
	var t trial
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &t) != nil {
		return 2
	}
	var r trialResult
	var err error
	switch {
	case t.Init != nil:
		r.Manifest, err = onnx.Init(t.Init.Path, t.Init.Name, t.Init.Version, t.Init.MaxBatchSize)
	case t.Load != nil:
		err = loadOnce(ctx, *t.Load)
	default:
		return 2
	}
	if err != nil {
		r.Error = err.Error()
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return 1
	}
	return 0
}

func loadOnce(ctx context.Context, l loadTrial) error {
	models, err := Open(config.Models{Repository: l.Repository})
	if err != nil {
		return err
	}
	m, err := models.Load(ctx, l.Name, l.Version)
	if err != nil {
		return err
	}
	if _, err := breaks.New(m.Manifest); err != nil {
		return err
	}
	instance, err := inference.NewInstance(ctx, Runtimes(zerolog.Nop()), m, memory.NewGoAllocator())
	if err != nil {
		return err
	}
	return instance.Close()
}

// Init has a child process make a manifest for the graph of a file, within the limits of cfg.
// maxBatchSize is that of onnx.Init.
func Init(ctx context.Context, cfg config.Models, path, name, version string, maxBatchSize int) (manifest []byte, err error) {
	made, err := try(ctx, cfg, "read "+path, trial{Init: &initTrial{path, name, version, maxBatchSize}})
	return made.Manifest, err
}

// mostOutput bounds what is kept of a child's output.
const mostOutput = 8 << 20

// try runs a trial in a child process within the limits of the configuration. what names it
// in errors.
func try(ctx context.Context, cfg config.Models, what string, t trial) (trialResult, error) {
	var r trialResult
	task, err := json.Marshal(t)
	if err != nil {
		return r, err
	}
	exe, err := os.Executable()
	if err != nil {
		return r, fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.LoadTimeout, errTrialTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, TrialCommand, string(task)) //nolint:gosec // this program itself
	cmd.Env = config.WithoutSecrets(os.Environ())                    // a graph is somebody else's program
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, said := &head{most: mostOutput}, &head{most: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.WaitDelay = time.Second
	// The signal comes when the thread ends that started the child, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return r, fmt.Errorf("%s: start a process to try it in: %w", what, err)
	}
	var tooMuch atomic.Bool
	watched := make(chan struct{})
	ended := make(chan struct{})
	go func() { // ends with the child
		defer close(watched)
		if watchMemory(cmd.Process.Pid, cfg.LoadMemory, ended) {
			tooMuch.Store(true)
			cancel()
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-watched
	switch {
	case tooMuch.Load():
		return r, fmt.Errorf("%s: it takes more than %d MiB of memory to load and run once (models.load_memory)", what, cfg.LoadMemory>>20)
	case errors.Is(context.Cause(ctx), errTrialTime):
		return r, fmt.Errorf("%s: it takes longer than %s to load and run once (models.load_timeout)", what, cfg.LoadTimeout)
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case err != nil:
		return r, fmt.Errorf("%s: the process that tried it ended with %w: %s", what, err, firstLine(said.String()))
	}
	if err := json.Unmarshal(out.buf.Bytes(), &r); err != nil {
		return r, fmt.Errorf("%s: the process that tried it gave no answer: %s", what, firstLine(said.String()))
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

var errTrialTime = errors.New("models.load_timeout passed")

// watchMemory looks at the resident memory of a process until it ends; true means that it had
// more than most bytes.
func watchMemory(pid int, most int64, ended <-chan struct{}) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	path := filepath.Join("/proc", strconv.Itoa(pid), "statm")
	for {
		text, err := os.ReadFile(path) //nolint:gosec // of our own child
		if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
			if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil && pages*int64(os.Getpagesize()) > most {
				return true
			}
		}
		select {
		case <-ended:
			return false
		case <-ticker.C:
		}
	}
}

// firstLine returns what a process that crashed said first, which is why.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if line == "" {
		return "it said nothing"
	}
	return line[:min(len(line), 300)]
}

// head keeps the first bytes of what is written.
type head struct {
	most int
	mu   sync.Mutex
	buf  bytes.Buffer
}

// Write implements io.Writer; it takes everything, and keeps what fits.
func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Write(p[:min(len(p), max(0, h.most-h.buf.Len()))])
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.String()
}

// tried are versions that a child of this process has loaded, by what they are made of.
var tried sync.Map

// Try has a child process load a version, and run it, before this one does. What it has tried once
// it does not try again.
func Try(ctx context.Context, cfg config.Models, ref inference.Ref) error {
	text, err := schemas.ReadManifestText(filepath.Join(cfg.Repository, ref.Name, ref.Version))
	if err != nil {
		return fmt.Errorf("load model %s: %w", ref, err)
	}
	if _, ok := tried.Load(string(text)); ok { // it names all files by their digests, which are checked at each load
		return nil
	}
	_, err = try(ctx, cfg, "load model "+ref.String(), trial{Load: &loadTrial{cfg.Repository, ref.Name, ref.Version}})
	if err == nil {
		tried.Store(string(text), true)
	}
	return err
}
