// The Prometheus Operator, for its definitions of resources, which are files of the module. Nothing of it is built.
module campaign-metrics.io/tests/tools/operator

go 1.26.7

require github.com/prometheus-operator/prometheus-operator v0.85.0
