package onnx

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/schemas"
)

// Fields of onnx.proto3 on the way to a tensor's external data.
const (
	modelGraph, modelFunctions                      = 7, 25
	graphNode, graphInitializer, graphSparse        = 1, 5, 15
	functionNode, functionAttributes                = 7, 11
	nodeAttribute                                   = 5
	attributeTensor, attributeGraph                 = 5, 6
	attributeTensors, attributeGraphs               = 10, 11
	attributeSparse, attributeSparses               = 22, 23
	sparseValues, sparseIndices                     = 1, 2
	tensorExternal, tensorLocation, tensorInFile    = 13, 14, 1
	entryKey, entryValue                            = 1, 2
	maxGraphDepth, maxExternal, maxExternalLocation = 64, 1000, 1000
)

// message is a kind of message on the way, with the fields that lead on.
type message map[protowire.Number]*message

var tensorMessage = &message{}

var graphMessage = func() *message {
	sparse := &message{sparseValues: tensorMessage, sparseIndices: tensorMessage}
	graph, node, attribute := &message{}, &message{}, &message{}
	*attribute = message{
		attributeTensor: tensorMessage, attributeTensors: tensorMessage, attributeGraph: graph, attributeGraphs: graph,
		attributeSparse: sparse, attributeSparses: sparse,
	}
	*node = message{nodeAttribute: attribute}
	*graph = message{graphNode: node, graphInitializer: tensorMessage, graphSparse: sparse}
	function := &message{functionNode: node, functionAttributes: attribute}
	return &message{modelGraph: graph, modelFunctions: function}
}()

// externalFiles returns the files that a graph keeps weights in, each once, in order of their
// names. ONNX Runtime would read whatever path the graph names: one that is no plain name is
// an error. So is what cannot be read as a message: the runtime's parser takes some of it, and
// would find files that were passed over here.
func externalFiles(path string) ([]string, error) {
	text, unmap, err := mapGraph(path)
	if err != nil {
		return nil, err
	}
	defer unmap()
	w := externalWalk{}
	w.walk(text, graphMessage, 0)
	if w.err != nil {
		return nil, fmt.Errorf("graph %s: %w", path, w.err)
	}
	slices.Sort(w.files)
	return slices.Compact(w.files), nil
}

// mapGraph maps a file into memory until unmap is called.
func mapGraph(path string) (text []byte, unmap func(), err error) {
	f, err := schemas.OpenFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read graph: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, func() {}, err
	}
	text, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("read graph %s: %w", path, err)
	}
	return text, func() { _ = unix.Munmap(text) }, nil // it is a mapping of this package
}

var errNoGraph = errors.New("it is no ONNX graph, or a part of one: not readable as a protobuf message")

type externalWalk struct {
	files []string
	err   error
}

// walk visits the fields of a message.
func (w *externalWalk) walk(text []byte, of *message, depth int) {
	if depth > maxGraphDepth {
		w.err = errors.Join(w.err, fmt.Errorf("more than %d graphs within each other", maxGraphDepth))
		return
	}
	external, location := false, ""
	for len(text) > 0 && w.err == nil {
		number, kind, n := protowire.ConsumeTag(text)
		if n < 0 || number > protowire.MaxValidNumber { // of which the runtime's parser takes 32 bits
			w.err = errNoGraph
			return
		}
		text = text[n:]
		if kind == protowire.VarintType && of == tensorMessage && number == tensorLocation {
			v, n := protowire.ConsumeVarint(text)
			if n < 0 {
				w.err = errNoGraph
				return
			}
			// Enumerations are of 32 bits, and what is above is cut.
			external, text = int32(v) == tensorInFile, text[n:]
			continue
		}
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, text); n < 0 {
				w.err = errNoGraph
				return
			}
			text = text[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(text)
		if n < 0 {
			w.err = errNoGraph
			return
		}
		text = text[n:]
		switch inner := (*of)[number]; {
		case inner != nil:
			w.walk(v, inner, depth+1)
		case of == tensorMessage && number == tensorExternal:
			key, value, err := entry(v)
			switch {
			case err != nil:
				w.err = err
			case key == "location":
				location = value
			}
		}
	}
	if external && w.err == nil {
		w.add(location)
	}
}

func (w *externalWalk) add(location string) {
	switch {
	case len(location) > maxExternalLocation:
		w.err = fmt.Errorf("it names a file for its weights by %d characters", len(location))
	case location == "" || filepath.Base(location) != location || location == "." || location == ".." || strings.ContainsAny(location, "\\\x00"):
		w.err = fmt.Errorf("it keeps weights in %q, which is not a file beside it: export it with all files in one folder, or its weights inside (onnx.save_model without save_as_external_data)", location)
	case len(w.files) == 0 || w.files[len(w.files)-1] != location:
		if w.files = append(w.files, location); len(w.files) > maxExternal {
			slices.Sort(w.files)
			if w.files = slices.Compact(w.files); len(w.files) > maxExternal {
				w.err = fmt.Errorf("it keeps weights in more than %d files", maxExternal)
			}
		}
	}
}

// entry reads a key and its value.
func entry(text []byte) (key, value string, err error) {
	for len(text) > 0 {
		number, kind, n := protowire.ConsumeTag(text)
		if n < 0 || kind != protowire.BytesType || number > protowire.MaxValidNumber { // it has no other fields
			return key, value, errNoGraph
		}
		v, m := protowire.ConsumeBytes(text[n:])
		if m < 0 {
			return key, value, errNoGraph
		}
		text = text[n+m:]
		switch int(number) {
		case entryKey:
			key = string(v)
		case entryValue:
			value = string(v)
		}
	}
	return key, value, nil
}

// external returns the files that a graph keeps weights in, with their digests.
func external(path string) ([]schemas.External, error) {
	files, err := externalFiles(path)
	if err != nil {
		return nil, err
	}
	var all []schemas.External
	for _, name := range files {
		sum, err := inference.Digest(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			return nil, fmt.Errorf("weights of %s: %w", path, err)
		}
		all = append(all, schemas.External{File: name, SHA256: sum})
	}
	return all, nil
}

// checkExternal holds a graph to the files whose digests the manifest has: weights that
// nobody has digested could change unnoticed.
func checkExternal(m *inference.Model) error {
	files, err := externalFiles(m.ArtifactPath())
	if err != nil {
		return err
	}
	for _, name := range files {
		if !slices.ContainsFunc(m.Manifest.Artifact.External, func(e schemas.External) bool { return e.File == name }) {
			return fmt.Errorf("%s keeps weights in %s, which the manifest does not name: add it to artifact.external, with its sha256", m.Manifest.Artifact.File, name)
		}
	}
	return nil
}
