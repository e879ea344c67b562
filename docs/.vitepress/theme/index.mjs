// The look of the site: the generator's own theme with the system's fonts, so that nothing is loaded from elsewhere.
import theme from 'vitepress/theme-without-fonts'
import './site.css'

export default theme
