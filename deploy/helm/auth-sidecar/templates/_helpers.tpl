{{- define "auth-sidecar.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "auth-sidecar.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "auth-sidecar.labels" -}}
{{ include "auth-sidecar.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: proxy
app.kubernetes.io/part-of: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "auth-sidecar.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- /* sidecar.yaml: what the values say, the addresses that the chart needs, and limits that fit its memory. */ -}}
{{- define "auth-sidecar.config" -}}
{{- $tls := .Values.tls.existingSecret }}
{{- $ours := dict "listen" "0.0.0.0:3030" "admin" (dict "listen" "0.0.0.0:9464") }}
{{- if $tls }}{{ $_ := set $ours "tls" (dict "certificate" "/etc/sidecar-tls/tls.crt" "key" "/etc/sidecar-tls/tls.key") }}{{ end }}
{{- $limits := dict "limits" (dict "memory" "128MiB" "connections" (ternary 900 8000 (not (empty $tls)))) }}
{{- mergeOverwrite $limits (deepCopy .Values.config) $ours | toYaml }}
{{- end }}
