{{/* Name of everything that is made. */}}
{{- define "rljob.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if hasSuffix "-operator" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-operator" (.Release.Name | trunc 43 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What the Deployment selects its pods by; never changed. */}}
{{- define "rljob.selector" -}}
app.kubernetes.io/name: rljob-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rljob.labels" -}}
{{ include "rljob.selector" . }}
app.kubernetes.io/part-of: rljob
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The same and more, which win: list of the context and the others. */}}
{{- define "rljob.labelsWith" -}}
{{- toYaml (merge (deepCopy (index . 1 | default dict)) (include "rljob.labels" (index . 0) | fromYaml)) -}}
{{- end -}}

{{- define "rljob.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "rljob.name" . -}}
{{- else -}}
{{- fail "serviceAccount.name: is needed with serviceAccount.create: false; name the one that is there" -}}
{{- end -}}
{{- end -}}

{{- define "rljob.image" -}}
{{- $image := .Values.image -}}
{{- $image.repository -}}
{{- if or $image.tag (not $image.digest) }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- if $image.digest }}@{{ $image.digest }}{{ end -}}
{{- end -}}

{{/* What the pods of the operator and of `helm test` share. */}}
{{- define "rljob.pod" -}}
# A Service called `rljob` would set variables that look like ours.
enableServiceLinks: false
serviceAccountName: {{ include "rljob.serviceAccount" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same for their containers. */}}
{{- define "rljob.container" -}}
image: {{ include "rljob.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* `true` for something that is wanted: list of the context, `auto`, true or false, and the kind that `auto` asks for. */}}
{{- define "rljob.wanted" -}}
{{- $context := index . 0 -}}
{{- $enabled := index . 1 -}}
{{- if eq (toString $enabled) "auto" -}}
{{- if $context.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 2)) -}}true{{- end -}}
{{- else if $enabled -}}true{{- end -}}
{{- end -}}

{{/* What a scrape has in a ServiceMonitor and in a PodMonitor. */}}
{{- define "rljob.endpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
