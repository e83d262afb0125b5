package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/pipeline/supervisor"
)

// childCommand is the first argument of a child; the second is the part that it plays.
const childCommand = "bench-child"

// The parts that children play.
const (
	partKafka       = "kafka"
	partClickHouse  = "clickhouse"
	partLoad        = "load"
	partRole        = "role"
	partPassThrough = "pass-through"
	partReader      = "reader"
	partParts       = "parts"
	partMonitor     = "monitor"
)

// patience bounds how long a child may take over one answer.
const patience = 3 * time.Minute

// process is a child. It is told what to do by lines of JSON and answers with such lines.
// Its methods are for one goroutine.
type process struct {
	part   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan []byte // closed at the end of its output
	ended  chan struct{}
	stderr *kafkatest.Tail
}

// start starts a child and sends it its specification. Stop it.
func start(ctx context.Context, part string, spec any) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	p := &process{part: part, lines: make(chan []byte, 16), ended: make(chan struct{}), stderr: &kafkatest.Tail{}}
	p.cmd = exec.Command(exe, childCommand, part) //nolint:gosec,noctx // our own binary, ended by stop
	p.cmd.Stderr = p.stderr
	// A Ctrl-C in the terminal is for this process, which ends its children.
	// Where this one is killed, they die with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	if err := supervisor.Spawn(p.cmd, func() { p.read(stdout) }); err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	if err := p.tell(spec); err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	return p, nil
}

// read passes the child's lines on and waits for its end.
func (p *process) read(stdout io.Reader) {
	defer close(p.ended)
	in := bufio.NewReader(stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		p.lines <- line
	}
	close(p.lines)
	_ = p.cmd.Wait() // the result is cmd.ProcessState
}

// tell sends one line.
func (p *process) tell(what any) error {
	line, err := json.Marshal(what)
	if err == nil {
		_, err = p.stdin.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell %s: %w%s", p.part, err, p.stderr)
	}
	return nil
}

// hear waits for the next line.
func (p *process) hear(ctx context.Context, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.ended
			return fmt.Errorf("%s ended by itself (%s)%s", p.part, p.cmd.ProcessState, p.stderr)
		}
		if err := json.Unmarshal(line, answer); err != nil {
			return fmt.Errorf("%s said %.200q: %w", p.part, line, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w%s", p.part, context.Cause(ctx), p.stderr)
	}
}

// ask sends one line and waits for the answer.
func (p *process) ask(ctx context.Context, what, answer any) error {
	if err := p.tell(what); err != nil {
		return err
	}
	return p.hear(ctx, answer)
}

// stop lets the child end in order and waits for that; after a while, or when ctx ends, it
// kills it, which is an error. Stopping it again does nothing.
func (p *process) stop(ctx context.Context) error {
	if p.stdin == nil {
		return nil
	}
	_ = p.stdin.Close()
	p.stdin = nil
	go func() { // ends with the child
		for range p.lines { // what it still says is of no use
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // gone already is as good
		<-p.ended
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s ended badly (%s)%s", p.part, p.cmd.ProcessState, p.stderr)
	}
	return nil
}

// child is the other side of a process.
type child struct {
	spec  []byte
	lines chan []byte // further lines; closed at the end of the parent
	out   *json.Encoder
}

// RunChild plays a part if args (without the program's name) ask for one, and tells whether
// they did. It returns when the parent has gone or asks for the end.
func RunChild(args []string, stdin io.Reader, stdout, stderr io.Writer) (isChild bool, code int) {
	if len(args) != 2 || args[0] != childCommand {
		return services.RunChild(args, stderr) // models are tried in a process of their own
	}
	signal.Ignore(syscall.SIGPIPE) // of a parent that was killed: the end of stdin tells
	play, ok := map[string]func(ctx context.Context, c *child) error{
		partKafka: serveKafka, partClickHouse: serveClickHouse, partLoad: generate, partRole: runRole,
		partPassThrough: passThrough, partReader: readLatency, partParts: measureParts, partMonitor: judgeLastDay,
	}[args[1]]
	if !ok {
		fmt.Fprintf(stderr, "there is no part %q\n", args[1])
		return true, 2
	}
	in := bufio.NewReader(stdin)
	spec, err := in.ReadBytes('\n')
	if err != nil {
		fmt.Fprintf(stderr, "read the specification: %v\n", err)
		return true, 2
	}
	ctx, gone := context.WithCancel(context.Background())
	defer gone()
	c := &child{spec: spec, lines: make(chan []byte, 1024), out: json.NewEncoder(stdout)}
	go func() { // ends with stdin
		defer close(c.lines)
		defer gone()
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			c.lines <- line
		}
	}()
	if err := play(ctx, c); err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, err)
		return true, 1
	}
	return true, 0
}

// read parses the specification.
func (c *child) read(spec any) error {
	if err := json.Unmarshal(c.spec, spec); err != nil {
		return fmt.Errorf("read the specification: %w", err)
	}
	return nil
}

// say sends one line.
func (c *child) say(what any) error {
	if err := c.out.Encode(what); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// answerUntil answers until what the child does has ended: as the parent wants it, or by itself.
func (c *child) answerUntil(wait func() error, stats func() (roleStats, error)) error {
	answered := make(chan error, 1)
	go func() { answered <- c.answer(stats) }() // ends with stdin
	if err := wait(); err != nil {
		return err
	}
	return <-answered
}

// answer sends stats at once, and again for each line, until the parent wants the end.
func (c *child) answer(stats func() (roleStats, error)) error {
	for ok := true; ok; _, ok = <-c.lines {
		s, err := stats()
		if err != nil {
			return err
		}
		if err := c.say(s); err != nil {
			return err
		}
	}
	return nil
}

// next waits for a line; ok is false when the parent wants the end.
func (c *child) next(into any) (ok bool, err error) {
	line, ok := <-c.lines
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(line, into); err != nil {
		return false, fmt.Errorf("read a command: %w", err)
	}
	return true, nil
}
