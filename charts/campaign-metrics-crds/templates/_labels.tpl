{{/* Labels of an object. Takes (list $ MORE-LABELS). */}}
{{- define "campaign-metrics-crds.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict "app.kubernetes.io/name" $root.Chart.Name "app.kubernetes.io/instance" $root.Release.Name -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "campaign-metrics" -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version) -}}
{{- toYaml (merge $labels (index . 1) $root.Values.commonLabels) -}}
{{- end -}}
