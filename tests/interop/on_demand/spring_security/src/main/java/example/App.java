package example;

import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpEntity;
import org.springframework.http.HttpHeaders;
import org.springframework.http.HttpMethod;
import org.springframework.http.MediaType;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.endpoint.OAuth2RefreshTokenGrantRequest;
import org.springframework.security.oauth2.client.endpoint.RestClientRefreshTokenTokenResponseClient;
import org.springframework.security.oauth2.client.oidc.web.logout.OidcClientInitiatedLogoutSuccessHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizedClientRepository;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

/** Spring Security's OAuth 2.0 login with what Spring Boot sets up from `application.properties`. */
@SpringBootApplication
@RestController
public class App {
  private final OAuth2AuthorizedClientRepository clients;

  App(OAuth2AuthorizedClientRepository clients) {
    this.clients = clients;
  }

  public static void main(String[] arguments) {
    SpringApplication.run(App.class, arguments);
  }

  @Bean
  static SecurityFilterChain security(HttpSecurity http, ClientRegistrationRepository registrations) throws Exception {
    var logout = new OidcClientInitiatedLogoutSuccessHandler(registrations);
    logout.setPostLogoutRedirectUri("{baseUrl}/");
    logout.setDefaultTargetUrl("/");
    return http
        .authorizeHttpRequests(requests -> requests.requestMatchers("/", "/error").permitAll().anyRequest().authenticated())
        .oauth2Login(login -> login.defaultSuccessUrl("/"))
        .logout(settings -> settings.logoutSuccessHandler(logout))
        // The test's person runs no script that could read the token out of a page.
        .csrf(csrf -> csrf.disable())
        .build();
  }

  @GetMapping(value = "/", produces = MediaType.TEXT_HTML_VALUE)
  String home(@AuthenticationPrincipal OidcUser user, HttpSession session) {
    if (user == null) {
      return "<a href=\"/login\">Sign in</a>";
    }
    return "<b id=\"username\">%s</b> <i id=\"email\">%s</i> <i id=\"refreshes\">%s</i>"
        .formatted(user.getPreferredUsername(), user.getEmail(), session.getAttribute("refreshes"));
  }

  /** What Spring does by itself when the access token has run out. */
  @PostMapping("/refresh")
  void refresh(@RegisteredOAuth2AuthorizedClient("provider") OAuth2AuthorizedClient client, Authentication person,
      HttpServletRequest request, HttpServletResponse response) throws Exception {
    var tokens = new RestClientRefreshTokenTokenResponseClient().getTokenResponse(
        new OAuth2RefreshTokenGrantRequest(client.getClientRegistration(), client.getAccessToken(), client.getRefreshToken()));
    var refreshed = new OAuth2AuthorizedClient(client.getClientRegistration(), client.getPrincipalName(),
        tokens.getAccessToken(), tokens.getRefreshToken());
    clients.saveAuthorizedClient(refreshed, person, request, response);
    var headers = new HttpHeaders();
    headers.setBearerAuth(tokens.getAccessToken().getTokenValue());
    var userInfo = new RestTemplate().exchange(
        client.getClientRegistration().getProviderDetails().getUserInfoEndpoint().getUri(), HttpMethod.GET,
        new HttpEntity<>(headers), Map.class);
    if (!person.getName().equals(userInfo.getBody().get("sub"))) {
      throw new IllegalStateException("UserInfo is about somebody else");
    }
    var session = request.getSession();
    var before = (Integer) session.getAttribute("refreshes");
    session.setAttribute("refreshes", before == null ? 1 : before + 1);
    response.sendRedirect("/");
  }
}
