package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/millrace/millrace/pipeline/config"
)

// Codec is the encoding of requests and results.
type Codec string

// The codecs.
const (
	CodecJSON  Codec = "json"
	CodecArrow Codec = "arrow"
)

// Delivery is what the worker promises.
type Delivery string

// The delivery modes.
const (
	ExactlyOnce Delivery = "exactly_once"
	AtLeastOnce Delivery = "at_least_once"
)

var deliveries = []Delivery{ExactlyOnce, AtLeastOnce}

// The versions of the model that are measured: see testdata/make_models.py.
const (
	modelName = "bench"
	modelGBDT = "gbdt"
	modelMLP  = "mlp"
)

// Case is one way to run the worker.
type Case struct {
	Codec    Codec
	Model    string // version of the model
	Delivery Delivery
}

// Name returns <codec>_<model>_<delivery>.
func (c Case) Name() string { return c.pair() + "_" + string(c.Delivery) }

func (c Case) pair() string { return string(c.Codec) + "_" + c.Model }

// settings are the configuration keys that make a worker run the case. What is the default
// is not set.
func (c Case) settings() []string {
	set := []string{"models.versions={" + modelName + ": " + c.Model + "}"}
	if c.Delivery != ExactlyOnce {
		set = append(set, "worker.delivery="+string(c.Delivery))
	}
	if c.Codec != CodecJSON {
		set = append(set, "worker.codecs={"+modelName+": "+string(c.Codec)+"}")
	}
	return set
}

// cases are all of them.
func cases() []Case {
	var all []Case
	for _, codec := range []Codec{CodecJSON, CodecArrow} {
		for _, delivery := range deliveries {
			for _, model := range []string{modelGBDT, modelMLP} {
				all = append(all, Case{codec, model, delivery})
			}
		}
	}
	return all
}

// efficiencies are the pairs of codec and model whose efficiency is reported.
var efficiencies = []string{"json_gbdt", "json_mlp", "arrow_mlp"}

// latencyCase is the case whose latency is measured.
func latencyCase(d Delivery) Case { return Case{CodecJSON, modelMLP, d} }

// recorderCase is the case whose observations the recorder stores.
var recorderCase = Case{CodecJSON, modelMLP, ExactlyOnce}

// plan is what a run measures.
type plan struct {
	cases    []Case
	helpers  []Case // run once, for what they leave to latency and recorder
	latency  []Delivery
	recorder bool
}

// newPlan selects by the patterns, all where there are none: names of cases, latency_<delivery>
// and recorder, as path.Match has them. Latency and recorder bring the case whose results or
// observations they need. All of it must be known to this build.
func newPlan(only []string) (plan, error) {
	used := make([]bool, len(only))
	var errs []error
	wanted := func(name string) bool {
		found := len(only) == 0
		for i, pattern := range only {
			ok, err := path.Match(pattern, name)
			if err != nil {
				errs = append(errs, fmt.Errorf("--only %s: %w", pattern, err))
			}
			if ok {
				used[i], found = true, true
			}
		}
		return found
	}
	var p plan
	var names []string
	for _, c := range cases() {
		names = append(names, c.Name())
		if wanted(c.Name()) {
			p.cases = append(p.cases, c)
		}
	}
	for _, d := range deliveries {
		names = append(names, "latency_"+string(d))
		if wanted("latency_" + string(d)) {
			p.latency = append(p.latency, d)
		}
	}
	need := func(c Case) {
		if !slices.Contains(p.cases, c) && !slices.Contains(p.helpers, c) {
			p.helpers = append(p.helpers, c)
		}
	}
	for _, d := range p.latency {
		need(latencyCase(d))
	}
	if p.recorder = wanted("recorder"); p.recorder {
		need(recorderCase)
	}
	if len(errs) > 0 {
		return p, errs[0]
	}
	for i, ok := range used {
		if !ok {
			errs = append(errs, fmt.Errorf("--only %s: it matches none of %s, recorder", only[i], strings.Join(names, ", ")))
		}
	}
	for _, c := range append(slices.Clone(p.cases), p.helpers...) {
		errs = append(errs, c.supported())
	}
	return p, errors.Join(errs...)
}

// supported tells whether the configuration knows what the case needs.
func (c Case) supported() error {
	if _, err := config.Load("", nil, c.settings()); err != nil {
		return fmt.Errorf("case %s is not supported by this build (%w); choose others with --only", c.Name(), err)
	}
	return nil
}
