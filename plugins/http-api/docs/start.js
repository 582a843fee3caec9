// Shows the listener's own document. Nothing is asked of other hosts, so its validator stays off.
SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#api',
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: 'list',
  presets: [SwaggerUIBundle.presets.apis],
  tryItOutEnabled: false,
  validatorUrl: null,
});
